"""Restricted readers for weight files that are pickles.

A pickle is a program, and `.ckpt`, `.pt` and `.pth` files are pickles. The two readers
here let such a program name a handful of harmless things and refuse everything else;
no code of numpy's or torch's unpickling beyond the array constructor is reachable, and
torch need not be installed.
"""

import collections
import dataclasses
import io
import math
import mmap
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from data_pipeline.errors import UserError

_ZIP_SIGNATURE = b"PK\x03\x04"
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # first object of torch files before 1.6
_MAX_PICKLE_BYTES = 16 * 2**20  # names and shapes only; the numbers lie outside
_STORAGE_TYPES = {
  "DoubleStorage": np.dtype("<f8"),
  "FloatStorage": np.dtype("<f4"),
  "HalfStorage": np.dtype("<f2"),
  "LongStorage": np.dtype("<i8"),
  "IntStorage": np.dtype("<i4"),
}


class UnsafePickleError(UserError):
  """A file that is no plain weight file: it names code, is damaged or too large."""


class _NumpyUnpickler(pickle.Unpickler):
  _ALLOWED = {
    # Files contain the first name; numpy 2 moved the function to the second.
    ("numpy.core.multiarray", "_reconstruct"): "numpy._core.multiarray",
    ("numpy._core.multiarray", "_reconstruct"): "numpy._core.multiarray",
    ("numpy", "ndarray"): "numpy",
    ("numpy", "dtype"): "numpy",
  }

  def find_class(self, module: str, name: str) -> Any:
    if (module, name) not in self._ALLOWED:
      raise UnsafePickleError(f"refused: the file names {module}.{name}")
    return super().find_class(self._ALLOWED[module, name], name)


def read_numpy_pickle(content: bytes) -> dict:
  """Reads a nested dict of float32 arrays from the bytes of a pickle.

  Raises:
    UnsafePickleError: the pickle names anything but numpy's array constructor, is
      damaged, or holds something else than string keys and float32 arrays.
  """
  tree = _unpickle(_NumpyUnpickler(io.BytesIO(content)))
  _check_tree(tree, "")
  return tree


def _check_tree(tree: Any, where: str) -> None:
  if not isinstance(tree, dict):
    raise UnsafePickleError(f"expected a dict at {where or 'the top'!r}")
  for key, value in tree.items():
    if not isinstance(key, str):
      raise UnsafePickleError(f"expected a string key at {where!r}, got {key!r}")
    if isinstance(value, np.ndarray):
      if value.dtype != np.float32:
        raise UnsafePickleError(f"expected float32 at {where}/{key}, got {value.dtype}")
    else:
      _check_tree(value, f"{where}/{key}")


@dataclasses.dataclass(frozen=True)
class _Storage:
  """A run of numbers in a torch file, still unread."""

  key: str
  dtype: np.dtype
  num_values: int


@dataclasses.dataclass(frozen=True)
class _TensorView:
  """A tensor as torch stores it: where in a storage, which shape, which strides."""

  storage: _Storage
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]

  def read(self, values: np.ndarray) -> np.ndarray:
    """Copies the tensor out of its storage, after checking every bound."""
    numbers = (self.offset, *self.shape, *self.strides)
    if len(self.shape) != len(self.strides) or min(numbers) < 0:
      raise UnsafePickleError(f"tensor of storage {self.storage.key} is malformed")
    size = math.prod(self.shape)
    last = self.offset + sum(
      (n - 1) * s for n, s in zip(self.shape, self.strides, strict=True)
    )
    # A stride of 0 could blow a small file up; weights never repeat a number so.
    if size and (last >= len(values) or size > len(values)):
      raise UnsafePickleError(f"tensor leaves its storage {self.storage.key}")
    if not size:
      return np.zeros(self.shape, values.dtype)
    view = np.lib.stride_tricks.as_strided(
      values[self.offset :],
      self.shape,
      [s * values.itemsize for s in self.strides],
      writeable=False,
    )
    return np.array(view, order="C")


def _rebuild_tensor(storage, offset, shape, strides, *_unused) -> _TensorView:
  # requires_grad, hooks and metadata follow in newer files and mean nothing here.
  if not isinstance(storage, _Storage):
    raise UnsafePickleError("tensor without a storage")
  numbers = (offset, *shape, *strides)
  if not all(isinstance(n, int) for n in numbers):
    raise UnsafePickleError("tensor with a shape that is not whole numbers")
  return _TensorView(storage, offset, tuple(shape), tuple(strides))


class _TorchUnpickler(pickle.Unpickler):
  _ALLOWED = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): lambda tensor, *_unused: tensor,
    **{("torch", name): name for name in _STORAGE_TYPES},
  }

  def find_class(self, module: str, name: str) -> Any:
    if (module, name) not in self._ALLOWED:
      raise UnsafePickleError(f"refused: the file names {module}.{name}")
    return self._ALLOWED[module, name]

  def persistent_load(self, pid: Any) -> _Storage:
    try:
      kind, storage_type, key, _, num_values = pid[:5]
      dtype = _STORAGE_TYPES[storage_type]
    except (TypeError, ValueError, KeyError):
      raise UnsafePickleError(
        f"storage {pid!r} is not a plain tensor storage"
      ) from None
    if kind != "storage" or not isinstance(num_values, int) or num_values < 0:
      raise UnsafePickleError(f"storage {pid!r} is not a plain tensor storage")
    return _Storage(str(key), dtype, num_values)


def read_torch_file(path: Path, prefix: str = "") -> dict[str, np.ndarray]:
  """Reads a state dict (name -> array) written by `torch.save`, without torch.

  Only tensors whose name starts with `prefix` are read.

  Both forms are read: the zip of torch >= 1.6 and the earlier run of pickles, which
  is what the older torchvision downloads still are.

  Raises:
    UnsafePickleError: the file names anything but tensors, or is damaged.
  """
  with open(path, "rb") as file:
    signature = file.read(len(_ZIP_SIGNATURE))
    file.seek(0)
    if not signature:
      raise UnsafePickleError(f"{path}: the file is empty")
    reader = _read_torch_zip if signature == _ZIP_SIGNATURE else _read_torch_legacy
    try:
      return reader(file, prefix)
    except UnsafePickleError as error:
      raise UnsafePickleError(f"{path}: {error}") from None


def _read_torch_zip(file: io.BufferedReader, prefix: str) -> dict[str, np.ndarray]:
  try:
    with zipfile.ZipFile(file) as archive:
      names = [n for n in archive.namelist() if n.split("/")[1:] == ["data.pkl"]]
      if len(names) != 1:
        raise UnsafePickleError("no torch file: it has no data.pkl")
      if archive.getinfo(names[0]).file_size > _MAX_PICKLE_BYTES:
        raise UnsafePickleError("its table of tensors is too large")
      folder = names[0].removesuffix("data.pkl") + "data/"
      with archive.open(names[0]) as table:
        views = _unpickle(_TorchUnpickler(table))

      def values_of(storage: _Storage) -> np.ndarray:
        info = archive.getinfo(folder + storage.key)
        if info.file_size != storage.num_values * storage.dtype.itemsize:
          raise UnsafePickleError(f"storage {storage.key} has the wrong size")
        return np.frombuffer(archive.read(info), storage.dtype)

      return _read_views(views, values_of, prefix)
  except (zipfile.BadZipFile, KeyError, EOFError) as error:
    raise UnsafePickleError(f"damaged zip: {error}") from None


def _read_torch_legacy(file: io.BufferedReader, prefix: str) -> dict[str, np.ndarray]:
  if _unpickle(_TorchUnpickler(file)) != _LEGACY_MAGIC:
    raise UnsafePickleError("no torch file")
  for _ in ("protocol version", "system"):
    _unpickle(_TorchUnpickler(file))
  views = _unpickle(_TorchUnpickler(file))
  keys = _unpickle(_TorchUnpickler(file))
  if not isinstance(views, dict) or not isinstance(keys, list):
    raise UnsafePickleError("expected a dict of tensors")
  storages = {
    view.storage.key: view.storage
    for view in views.values()
    if isinstance(view, _TensorView)
  }
  position = file.tell()
  with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
    offsets = {}
    for key in map(str, keys):
      if key not in storages or position + 8 > len(content):
        raise UnsafePickleError(f"storage {key} is missing or cut off")
      (num_values,) = struct.unpack_from("<q", content, position)
      if num_values != storages[key].num_values:
        raise UnsafePickleError(f"storage {key} has the wrong size")
      offsets[key] = position + 8
      position += 8 + num_values * storages[key].dtype.itemsize
      if position > len(content):
        raise UnsafePickleError(f"storage {key} is cut off")

    def values_of(storage: _Storage) -> np.ndarray:
      if storage.key not in offsets:
        raise UnsafePickleError(f"storage {storage.key} is missing")
      start = offsets[storage.key]
      size = storage.num_values * storage.dtype.itemsize
      return np.frombuffer(content[start : start + size], storage.dtype)

    return _read_views(views, values_of, prefix)


def _read_views(views: Any, values_of, prefix: str) -> dict[str, np.ndarray]:
  if not isinstance(views, dict) or not all(
    isinstance(k, str) and isinstance(v, _TensorView) for k, v in views.items()
  ):
    raise UnsafePickleError("expected a dict of tensors")
  return {
    name: view.read(values_of(view.storage))
    for name, view in views.items()
    if name.startswith(prefix)
  }


def _unpickle(unpickler: pickle.Unpickler) -> Any:
  try:
    return unpickler.load()
  except UnsafePickleError:
    raise
  except Exception as error:  # a damaged pickle can raise nearly anything
    raise UnsafePickleError(f"damaged pickle: {error}") from None
