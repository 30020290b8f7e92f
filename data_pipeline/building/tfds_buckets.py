"""Lets TFDS shuffle more than fits in memory without tensorflow.

Beyond `shuffle.MAX_MEM_BUFFER_SIZE` (1 GB) TFDS sorts records through temporary files,
which it opens by tensorflow's file layer alone. They lie beside the shards on this
machine, so plain files serve as well.
"""

import contextlib
import os
import pathlib
import types
from collections.abc import Iterator
from typing import BinaryIO

from tensorflow_datasets.core import shuffle


class _Appending:
  """A file that is open only while it is written to: TFDS keeps a thousand of them."""

  def __init__(self, path: os.PathLike) -> None:
    self._path = path

  def write(self, data: bytes) -> None:
    with open(self._path, "ab") as file:
      file.write(data)

  def flush(self) -> None:
    """Nothing is held back."""

  def close(self) -> None:
    """Nothing is open."""


def _open(path: os.PathLike, mode: str) -> _Appending | BinaryIO:
  return open(path, "rb") if mode == "rb" else _Appending(path)


class _NeverRaised(Exception):
  """Stands for tensorflow's error of too many open files."""


_GFILE = types.SimpleNamespace(
  GFile=_open, exists=os.path.exists, remove=lambda path: pathlib.Path(path).unlink()
)
_TENSORFLOW = types.SimpleNamespace(
  io=types.SimpleNamespace(gfile=_GFILE),
  errors=types.SimpleNamespace(ResourceExhaustedError=_NeverRaised),
)


@contextlib.contextmanager
def local_buckets() -> Iterator[None]:
  """TFDS shuffles through plain files as long as this lasts."""
  before = shuffle.tf
  shuffle.tf = _TENSORFLOW
  try:
    yield
  finally:
    shuffle.tf = before
