"""Reads pickled arrays without running the code that a pickle may contain.

A pickle is a program: loading one can call any function that it names. The unpickler
here resolves only the names that it is given and refuses all others.
"""

import io
import pickle
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np

from data_pipeline.errors import UserError


class UnsafePickleError(UserError):
  """A pickle that names code, is damaged, or contains something other than arrays."""


class RestrictedUnpickler(pickle.Unpickler):
  """An unpickler that resolves only the names in `allowed`.

  Attributes:
    allowed: (module, name), as a pickle spells them, to the object they stand for.
  """

  allowed: ClassVar[Mapping[tuple[str, str], Any]] = {}

  def find_class(self, module: str, name: str) -> Any:
    """Returns the allowed object of that name; raises UnsafePickleError otherwise."""
    if (module, name) not in self.allowed:
      raise UnsafePickleError(f"it names {module}.{name}")
    return self.allowed[module, name]

  def load(self) -> Any:
    """Returns the pickled object; raises UnsafePickleError if it cannot be loaded."""
    try:
      return super().load()
    except UnsafePickleError:
      raise
    except Exception as error:  # a damaged pickle can raise nearly anything
      reason = (str(error).splitlines() or [type(error).__name__])[0]
      raise UnsafePickleError(f"damaged pickle: {reason}") from None


class _NumpyUnpickler(RestrictedUnpickler):
  # What numpy itself names when it pickles an array and a scalar.
  _make_array, _make_scalar = np.zeros(0).__reduce__()[0], np.float64().__reduce__()[0]
  allowed: ClassVar[Mapping[tuple[str, str], Any]] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    # Numpy 2 moved the functions; files of either version are read.
    ("numpy.core.multiarray", "_reconstruct"): _make_array,
    ("numpy._core.multiarray", "_reconstruct"): _make_array,
    ("numpy.core.multiarray", "scalar"): _make_scalar,
    ("numpy._core.multiarray", "scalar"): _make_scalar,
  }


def read_arrays(content: bytes) -> dict[str, np.ndarray]:
  """Reads the arrays of a pickled dict.

  Args:
    content: a pickle of a dict, possibly nested, of arrays or lists of numbers.

  Returns:
    The arrays by name; the keys of nested dicts are joined by "/".

  Raises:
    UnsafePickleError: the pickle names code, is damaged, or contains anything else.
  """
  tree = _NumpyUnpickler(io.BytesIO(content)).load()
  try:
    return dict(_named_arrays(tree, ""))
  except UnsafePickleError:
    raise
  except (ValueError, RecursionError):  # a ragged list; a dict that contains itself
    raise UnsafePickleError("it contains something other than arrays") from None


def _named_arrays(tree: Any, prefix: str) -> Iterator[tuple[str, np.ndarray]]:
  if not isinstance(tree, dict) or not all(isinstance(key, str) for key in tree):
    raise UnsafePickleError("it contains no named arrays")
  for key, value in tree.items():
    if isinstance(value, dict):
      yield from _named_arrays(value, f"{prefix}{key}/")
      continue
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
      raise UnsafePickleError(f"{prefix + key!r} is not an array of numbers")
    yield prefix + key, array
