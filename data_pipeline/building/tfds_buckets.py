"""Lets TFDS shuffle data sets larger than memory without tensorflow.

Beyond `shuffle.MAX_MEM_BUFFER_SIZE` (1 GB) TFDS sorts records by means of temporary
files, which it opens through tensorflow. They are beside the shards on this machine, so
plain files serve as well.
"""

import contextlib
import os
import pathlib
import types
from collections.abc import Iterator
from typing import BinaryIO

from tensorflow_datasets.core import shuffle


class _Appending:
  """A file that is open only during a write, because TFDS keeps a thousand of them."""

  def __init__(self, path: os.PathLike) -> None:
    self._path = path

  def write(self, data: bytes) -> None:
    """Appends to the file."""
    with open(self._path, "ab") as file:
      file.write(data)

  def flush(self) -> None:
    """Does nothing, because nothing is buffered."""

  def close(self) -> None:
    """Does nothing, because nothing is open."""


def _open(path: os.PathLike, mode: str) -> _Appending | BinaryIO:
  return open(path, "rb") if mode == "rb" else _Appending(path)


class _NeverRaised(Exception):
  """Replaces tensorflow's error for too many open files."""


_GFILE = types.SimpleNamespace(
  GFile=_open, exists=os.path.exists, remove=lambda path: pathlib.Path(path).unlink()
)
_TENSORFLOW = types.SimpleNamespace(
  io=types.SimpleNamespace(gfile=_GFILE),
  errors=types.SimpleNamespace(ResourceExhaustedError=_NeverRaised),
)


@contextlib.contextmanager
def local_buckets() -> Iterator[None]:
  """Makes TFDS shuffle through plain files inside the block."""
  before = shuffle.tf
  shuffle.tf = _TENSORFLOW
  try:
    yield
  finally:
    shuffle.tf = before
