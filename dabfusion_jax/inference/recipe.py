"""What a dance is made of, by which a finished one is known again."""

import contextlib
import functools
import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from dabfusion_jax.inference.dance_files import INTERRUPTED, files_of
from dabfusion_jax.inference.pairs import Pair
from dabfusion_jax.people import segmenter
from data_pipeline import files, weights
from data_pipeline.errors import UserError
from data_pipeline.music import beat_network

RECIPE = "recipe"  # its name among the settings of a dance
_PACKAGES = ("dabfusion_jax", "data_pipeline")
_NETWORKS = (*segmenter.WEIGHTS, *beat_network.NAMES)  # imported ones change a dance


def make_recipe(made_by: Mapping[str, Any], pair: Pair) -> str:
  """Returns a hash of all that a dance depends on.

  That is what its files hold, not how they are called, and the code and the bundled
  weights too.

  Args:
    made_by: options of the dance, with whatever else changes it, as JSON.
    pair: its picture, song and video.
  """
  inputs = {"image": pair.image, "music": pair.music}
  inputs |= {name: made_by[name] for name in ("beats", "scene")}
  made_of = {name: _content(value) for name, value in inputs.items()}
  networks = [_version(name) for name in _NETWORKS]
  suffix = pair.output.suffix.lower()
  described = [{**made_by, **made_of}, networks, _code(), suffix]
  return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def is_finished(output: pathlib.Path, recipe: str) -> bool:
  """Returns whether all files of a dance of that recipe are there, to its end."""
  if not all(path.is_file() for path in files_of(output)):
    return False
  settings = _settings(output)
  return settings.get(RECIPE) == recipe and INTERRUPTED not in settings


def replaces(output: pathlib.Path, recipe: str) -> bool:
  """Returns whether a dance of another recipe stands where one is to be written."""
  return output.is_file() and _settings(output).get(RECIPE) != recipe


def _settings(output: pathlib.Path) -> dict[str, Any]:
  with contextlib.suppress(OSError, UserError):
    return files.read_json(files_of(output)[-1])
  return {}


def _content(name: str | None) -> str | None:
  """Returns the hash of a file; what is none, a word or an address, stays as it is."""
  with contextlib.suppress(OSError, TypeError):
    return files.file_sha256(pathlib.Path(name))
  return name


def _version(network: str) -> str | None:
  """Returns the hash of imported weights, None without them."""
  with contextlib.suppress(weights.WeightsError):
    return weights.describe(network)["sha256"]
  return None


@functools.cache
def _code() -> str:
  """Returns a hash of the code, and of what the bundled weights say of themselves."""
  digest, root = hashlib.sha256(), pathlib.Path(__file__).parents[2]
  for package in _PACKAGES:
    for path in sorted((root / package).rglob("*")):
      if path.suffix in (".py", ".json"):
        digest.update(path.read_bytes())
  return digest.hexdigest()
