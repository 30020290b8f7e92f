"""Hands the arrays of a batch from one process to another without copying them.

Sent through the pipe of an executor, the bytes of a batch are read in pieces and copied
twice while Python's interpreter lock is held. Here they stay where the sender put them,
in anonymous memory that lives as long as an array of either process refers to it.
"""

import dataclasses
import mmap
import os
import pickle
from collections.abc import Iterable, Iterator
from multiprocessing.reduction import DupFd
from typing import Any

_ALIGNMENT = 64  # bytes


@dataclasses.dataclass(frozen=True)
class SharedBatch:
  """What passes the pipe: everything but the bytes of the arrays.

  Attributes:
    rest: the batch, pickled without them.
    sizes: bytes of each array.
    memory: descriptor of the memory that holds them, or the bytes themselves where
      there is no anonymous memory (it is Linux's).
  """

  rest: bytes
  sizes: tuple[int, ...]
  memory: Any

  @classmethod
  def of(cls, batch: Any) -> "SharedBatch":
    """Returns a batch to be sent to a process that belongs to the same parent."""
    buffers: list[pickle.PickleBuffer] = []
    rest = pickle.dumps(batch, protocol=5, buffer_callback=buffers.append)
    arrays = [buffer.raw() for buffer in buffers]
    sizes = tuple(array.nbytes for array in arrays)
    if not hasattr(os, "memfd_create"):
      return cls(rest, sizes, b"".join(_pieces(arrays)))
    descriptor = os.memfd_create("batch")
    try:
      with open(descriptor, "wb", closefd=False) as file:
        file.writelines(_pieces(arrays))
      return cls(rest, sizes, DupFd(descriptor))  # of a copy of the descriptor
    finally:
      os.close(descriptor)

  def open(self) -> Any:
    """Returns the batch, once; its arrays lie in the shared memory."""
    memory = self.memory
    if not isinstance(memory, bytes):
      descriptor = memory.detach()
      try:
        memory = mmap.mmap(descriptor, 0) if any(self.sizes) else b""
      finally:
        os.close(descriptor)
    buffers, start, view = [], 0, memoryview(memory)
    for size in self.sizes:
      buffers.append(view[start : start + size])
      start += size + -size % _ALIGNMENT
    return pickle.loads(self.rest, buffers=buffers)


def _pieces(arrays: Iterable[memoryview]) -> Iterator[memoryview | bytes]:
  for array in arrays:
    yield array
    yield bytes(-array.nbytes % _ALIGNMENT)
