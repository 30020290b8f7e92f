"""Reads pickles of plain numbers, as AIST++ keeps its annotations.

A pickle is a program; this one may name numpy's array constructor and nothing else.
"""

import io
import os
import pickle
from typing import Any

import numpy as np

from data_pipeline.errors import UserError

MAX_BYTES = 256 * 2**20


class UnsafePickleError(UserError):
  """A pickle that names code, is damaged, or holds more than numbers."""


class _Unpickler(pickle.Unpickler):
  _ALLOWED = {
    # Files contain the first spelling; numpy 2 moved the functions to the second.
    ("numpy.core.multiarray", "_reconstruct"): "numpy._core.multiarray",
    ("numpy._core.multiarray", "_reconstruct"): "numpy._core.multiarray",
    ("numpy.core.multiarray", "scalar"): "numpy._core.multiarray",
    ("numpy._core.multiarray", "scalar"): "numpy._core.multiarray",
    ("numpy", "ndarray"): "numpy",
    ("numpy", "dtype"): "numpy",
  }

  def find_class(self, module: str, name: str) -> Any:
    if (module, name) not in self._ALLOWED:
      raise UnsafePickleError(f"it names {module}.{name}")
    return super().find_class(self._ALLOWED[module, name], name)


def read_arrays(path: str | os.PathLike) -> dict[str, np.ndarray]:
  """A flat dict of numeric arrays.

  Raises:
    UnsafePickleError: anything else; one line that names the file.
  """
  with open(path, "rb") as file:
    content = file.read(MAX_BYTES + 1)
  try:
    if len(content) > MAX_BYTES:
      raise UnsafePickleError("it is too large")
    tree = _Unpickler(io.BytesIO(content)).load()
    if not isinstance(tree, dict) or not all(isinstance(key, str) for key in tree):
      raise UnsafePickleError("it holds no named arrays")
    arrays = {key: np.asarray(value) for key, value in tree.items()}
    for key, value in arrays.items():
      if value.dtype.kind not in "fiub":
        raise UnsafePickleError(f"{key!r} is no array of numbers")
  except Exception as error:  # a damaged pickle can raise nearly anything
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    raise UnsafePickleError(f"{path}: refused, {reason}; download it again.") from None
  return arrays
