"""What a dance is made of, by which a finished one is known again."""

import contextlib
import functools
import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from dabfusion_jax.inference.dance_files import files_of
from dabfusion_jax.inference.pairs import Pair
from dabfusion_jax.people import segmenter
from data_pipeline import files, weights
from data_pipeline.errors import UserError
from data_pipeline.music import beat_network

_NETWORKS = (*segmenter.WEIGHTS, *beat_network.NAMES)  # change a dance if imported


def make_recipe(made_by: Mapping[str, Any], pair: Pair) -> str:
  """Returns a hash of the contents of a pair and of what else makes a dance of it.

  Args:
    made_by: options of the dance.
    pair: whose names do not count, but for the kind of video.
  """
  inputs = {**made_by, "image": pair.image, "music": pair.music}
  folder = weights.weights_folder()
  inputs |= {name: str(folder / f"{name}.json") for name in _NETWORKS}
  contents = {name: _content(value) for name, value in inputs.items()}
  described = json.dumps([contents, _package(), pair.output.suffix], sort_keys=True)
  return hashlib.sha256(described.encode()).hexdigest()


def read_dance(output: pathlib.Path) -> dict[str, Any]:
  """Returns the settings of a dance whose files are all there, else none."""
  with contextlib.suppress(OSError, UserError):
    if all(path.is_file() for path in files_of(output)):
      return files.read_json(files_of(output)[-1])
  return {}


def _content(value: Any) -> Any:
  """Returns the hash of a file; what is none stays as it is."""
  with contextlib.suppress(OSError):
    if isinstance(value, str):
      return files.file_sha256(pathlib.Path(value))
  return value


@functools.cache
def _package() -> str:
  """Returns a hash of the code, and of the weights that come with it."""
  digest, root = hashlib.sha256(), pathlib.Path(__file__).parents[2]
  for package in ("dabfusion_jax", "data_pipeline"):
    for path in sorted((root / package).rglob("*")):
      if path.suffix in (".py", ".safetensors"):
        digest.update(path.read_bytes())
  return digest.hexdigest()
