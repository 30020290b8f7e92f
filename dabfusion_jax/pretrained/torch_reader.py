"""Reads weight files written by `torch.save`, without torch.

Such files (`.ckpt`, `.pt`, `.pth`) are pickles. The unpickler here resolves only the
names by which torch describes plain tensors, and copies their values itself.
"""

import collections
import dataclasses
import io
import math
import mmap
import pathlib
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from data_pipeline.numpy_pickle import RestrictedUnpickler, UnsafePickleError

_ZIP_SIGNATURE = b"PK\x03\x04"
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # first object of torch files before 1.6
_MAX_PICKLE_BYTES = 16 * 2**20  # names and shapes only; the values lie outside
_STORAGE_TYPES = {
  "DoubleStorage": np.dtype("<f8"),
  "FloatStorage": np.dtype("<f4"),
  "HalfStorage": np.dtype("<f2"),
  "LongStorage": np.dtype("<i8"),
  "IntStorage": np.dtype("<i4"),
}


@dataclasses.dataclass(frozen=True)
class _Storage:
  """A run of values in a torch file, not read yet."""

  key: str
  dtype: np.dtype
  num_values: int


@dataclasses.dataclass(frozen=True)
class _TensorView:
  """A tensor as torch stores it: offset, shape and strides within a storage."""

  storage: _Storage
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]

  def read(self, values: np.ndarray) -> np.ndarray:
    """Copies the tensor out of the values of its storage, after checking the bounds."""
    numbers = (self.offset, *self.shape, *self.strides)
    if len(self.shape) != len(self.strides) or min(numbers) < 0:
      raise UnsafePickleError(f"tensor of storage {self.storage.key} is malformed")
    size = math.prod(self.shape)
    last = self.offset + sum(
      (n - 1) * s for n, s in zip(self.shape, self.strides, strict=True)
    )
    # A stride of 0 could turn a small file into a huge array; weights never use one.
    if size and (last >= len(values) or size > len(values)):
      raise UnsafePickleError(f"tensor exceeds its storage {self.storage.key}")
    if not size:
      return np.zeros(self.shape, values.dtype)
    view = np.lib.stride_tricks.as_strided(
      values[self.offset :],
      self.shape,
      [s * values.itemsize for s in self.strides],
      writeable=False,
    )
    return np.array(view, order="C")


def _rebuild_tensor(
  storage: Any, offset: Any, shape: Any, strides: Any, *_unused: Any
) -> _TensorView:
  # requires_grad, hooks and metadata follow in newer files and are not needed here.
  if not isinstance(storage, _Storage):
    raise UnsafePickleError("tensor without a storage")
  if not all(isinstance(n, int) for n in (offset, *shape, *strides)):
    raise UnsafePickleError("tensor whose shape is not made of integers")
  return _TensorView(storage, offset, tuple(shape), tuple(strides))


class _TorchUnpickler(RestrictedUnpickler):
  allowed: ClassVar[Mapping[tuple[str, str], Any]] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): lambda tensor, *_unused: tensor,
    **{("torch", name): name for name in _STORAGE_TYPES},
  }

  def persistent_load(self, pid: Any) -> _Storage:
    """Returns the storage that a persistent id describes."""
    try:
      kind, storage_type, key, _, num_values = pid[:5]
      dtype = _STORAGE_TYPES[storage_type]
    except (TypeError, ValueError, KeyError):
      kind, num_values = None, -1
    if kind != "storage" or not isinstance(num_values, int) or num_values < 0:
      # Not shown: nested, a few bytes may be written out as gigabytes.
      raise UnsafePickleError("it names what is no plain tensor storage")
    return _Storage(str(key), dtype, num_values)


def read_torch_file(path: pathlib.Path, prefix: str = "") -> dict[str, np.ndarray]:
  """Reads a state dict written by `torch.save`.

  Both formats are read: the zip of torch >= 1.6, and the earlier sequence of pickles
  that the older torchvision downloads still use.

  Args:
    path: the file.
    prefix: only tensors whose name starts with it are read.

  Returns:
    The tensors by name.

  Raises:
    UnsafePickleError: the file names anything but tensors, or is damaged.
  """
  with open(path, "rb") as file:
    signature = file.read(len(_ZIP_SIGNATURE))
    file.seek(0)
    if not signature:
      raise UnsafePickleError(f"{path}: the file is empty")
    reader = _read_zip if signature == _ZIP_SIGNATURE else _read_legacy
    try:
      return reader(file, prefix)
    except UnsafePickleError as error:
      raise UnsafePickleError(f"{path}: {error}") from None
    except (OSError, TypeError, ValueError, OverflowError) as error:
      # An offset before the file, or a shape that no array has.
      raise UnsafePickleError(f"{path}: damaged ({error})") from None


def _read_zip(file: io.BufferedReader, prefix: str) -> dict[str, np.ndarray]:
  try:
    with zipfile.ZipFile(file) as archive:
      names = [n for n in archive.namelist() if n.split("/")[1:] == ["data.pkl"]]
      if len(names) != 1:
        raise UnsafePickleError("not a torch file: it has no data.pkl")
      if archive.getinfo(names[0]).file_size > _MAX_PICKLE_BYTES:
        raise UnsafePickleError("its table of tensors is too large")
      folder = names[0].removesuffix("data.pkl") + "data/"
      with archive.open(names[0]) as table:
        views = _TorchUnpickler(table).load()

      def values_of(storage: _Storage) -> np.ndarray:
        info = archive.getinfo(folder + storage.key)
        if info.file_size != storage.num_values * storage.dtype.itemsize:
          raise UnsafePickleError(f"storage {storage.key} has the wrong size")
        return np.frombuffer(archive.read(info), storage.dtype)

      return _read_views(views, values_of, prefix)
  except (
    *(zipfile.BadZipFile, zlib.error, KeyError, EOFError),
    RuntimeError,  # encrypted, or compressed by an unknown method
  ) as error:
    raise UnsafePickleError(f"damaged zip: {error}") from None


def _read_legacy(file: io.BufferedReader, prefix: str) -> dict[str, np.ndarray]:
  if _TorchUnpickler(file).load() != _LEGACY_MAGIC:
    raise UnsafePickleError("not a torch file")
  for _ in ("protocol version", "system"):
    _TorchUnpickler(file).load()
  views = _TorchUnpickler(file).load()
  keys = _TorchUnpickler(file).load()
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


def _read_views(
  views: Any, values_of: Callable[[_Storage], np.ndarray], prefix: str
) -> dict[str, np.ndarray]:
  if not isinstance(views, dict) or not all(
    isinstance(k, str) and isinstance(v, _TensorView) for k, v in views.items()
  ):
    raise UnsafePickleError("expected a dict of tensors")
  return {
    name: view.read(values_of(view.storage))
    for name, view in views.items()
    if name.startswith(prefix)
  }
