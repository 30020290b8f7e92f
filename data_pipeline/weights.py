"""Reads the pretrained weights that `python -m dabfusion_jax.weights import` wrote.

Weights are kept as NAME.safetensors and NAME.json in the folder named by the
environment variable DABFUSION_WEIGHTS, or else in `weights/` under the current
directory, or else in that of a checkout.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from data_pipeline.errors import UserError

CONVERTER_VERSION = 1  # raise when the layout of a written file changes
COMMAND = "python -m dabfusion_jax.weights import"


class WeightsError(UserError):
  """Weights that cannot be imported or loaded, and what to do about it."""


class MissingWeightsError(WeightsError):
  """Weights that have not been imported yet."""


def weights_folder() -> Path:
  """Returns the folder of imported weights: $DABFUSION_WEIGHTS or ./weights.

  Outside of a checkout, whose `make demo` imports some, it is that of the checkout.
  """
  named = os.environ.get("DABFUSION_WEIGHTS")
  here, of_checkout = Path("weights"), Path(__file__).parents[1] / "weights"
  if not named and not here.is_dir() and of_checkout.is_dir():
    return of_checkout
  return Path(named or here).expanduser()


def read(
  name: str, folder: Path | None = None, command: str | None = None
) -> dict[str, np.ndarray]:
  """Reads imported weights.

  Args:
    name: of the weights.
    folder: of imported weights; `weights_folder()` if None.
    command: that imports them; `COMMAND` with the name if None.

  Returns:
    Arrays by name ("a/b/c").

  Raises:
    MissingWeightsError: the weights have not been imported; the message names the file
      and the command that supplies it.
    WeightsError: the file is damaged or of an older layout.
  """
  command = command or f"{COMMAND} {name}"
  info = describe(name, folder, command)
  path = (folder or weights_folder()) / f"{name}.safetensors"
  content = path.read_bytes()
  if hashlib.sha256(content).hexdigest() != info["sha256"]:
    raise WeightsError(f"{path} is damaged; delete it and run: {command}")
  return safetensors.numpy.load(content)


def describe(
  name: str, folder: Path | None = None, command: str | None = None
) -> dict[str, Any]:
  """Reads NAME.json: source, version, hashes and licence, to be kept with results.

  Raises:
    MissingWeightsError, WeightsError: as for `read`.
  """
  command = command or f"{COMMAND} {name}"
  folder = folder or weights_folder()
  path = folder / f"{name}.json"
  for wanted in (folder / f"{name}.safetensors", path):
    if not wanted.is_file():
      raise MissingWeightsError(
        f"no weights {name!r}: {wanted.absolute()} is missing; run: {command}"
        " (DABFUSION_WEIGHTS names another folder)"
      )
  try:
    info = json.loads(path.read_text())
    is_current = info["converter_version"] == CONVERTER_VERSION and "sha256" in info
  except (ValueError, TypeError, KeyError):
    is_current = False
  if not is_current:
    raise WeightsError(f"{path} is damaged or outdated; run: {command}")
  return info
