"""The weights of a published stage as one safetensors file, and the hash of them."""

import hashlib
import pathlib
import tempfile
from typing import Any

import jax
import numpy as np
import safetensors.numpy
from etils import epath
from flax import traverse_util

from dabfusion_jax.storage import rounding
from data_pipeline import files
from data_pipeline.errors import UserError

PyTree = Any
MODEL = "model.safetensors"


class SavedStageError(UserError):
  """A folder does not hold the trained stage that was asked for."""


def digest_of(params: PyTree, batch_stats: PyTree) -> str:
  """Returns the SHA-256 over all names, shapes and float32 values, in any order."""
  digest = hashlib.sha256()
  for name, value in sorted(flatten(params, batch_stats).items()):
    digest.update(f"{name}{value.shape}".encode())
    digest.update(value.tobytes())
  return digest.hexdigest()


def flatten(params: PyTree, batch_stats: PyTree) -> dict[str, np.ndarray]:
  """Returns all values on the host, float32, by their names joined with slashes."""
  tree = {"params": params, "batch_stats": batch_stats}
  flat = traverse_util.flatten_dict(tree, sep="/")
  return {
    name: np.ascontiguousarray(jax.device_get(value), np.float32)
    for name, value in flat.items()
  }


def read_model(path: epath.Path) -> tuple[PyTree, PyTree, int, str]:
  """Returns (params, batch_stats, step, the digest they were written with).

  Raises:
    SavedStageError: the file is damaged, or holds something else.
  """
  if files.is_remote(path):  # the reader maps files of a disk
    with tempfile.TemporaryDirectory() as here:
      return read_model(path.copy(pathlib.Path(here) / MODEL))
  try:
    with safetensors.safe_open(path, "numpy") as file:
      metadata = file.metadata()
      step, digest = int(metadata["step"]), metadata["digest"]
      flat = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
  except (
    safetensors.SafetensorError,
    OSError,
    KeyError,
    TypeError,
    ValueError,
    AttributeError,  # of a dtype that numpy lacks
  ) as error:
    raise SavedStageError(f"{path} is damaged ({error}); get the file again.") from None
  if not any(name.startswith("params/") for name in flat):
    raise SavedStageError(f"{path} holds no params; it is no published stage.")
  try:
    flat = rounding.unpack(flat)
  except ValueError as error:
    raise SavedStageError(f"{path} is damaged ({error}); get the file again.") from None
  try:
    tree = traverse_util.unflatten_dict(flat, sep="/")
  except (IndexError, TypeError, ValueError):  # a name that is also a folder of names
    raise SavedStageError(f"{path}: names clash; get the file again.") from None
  return tree["params"], tree.get("batch_stats", {}), step, digest
