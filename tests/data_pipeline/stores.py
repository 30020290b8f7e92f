"""Replaces `gs://` by a store in memory."""

import contextlib

import fsspec
from etils.epath import backend
from fsspec.implementations.memory import MemoryFileSystem


class Objects(MemoryFileSystem):
  """Objects by address, `gs://bucket/name`; like buckets, it has no folders."""

  protocol = ("gs", "gcs")
  cachable = False

  def __init__(self):
    super().__init__()
    self.store, self.pseudo_dirs = {}, [""]

  def mkdir(self, path, create_parents=True, **options): ...

  def makedirs(self, path, exist_ok=False): ...

  def names(self):
    """Returns the sorted names of all objects."""
    return sorted(name.removeprefix("gs://") for name in self.store)


@contextlib.contextmanager
def objects(monkeypatch):
  """Yields a store that all `gs://` paths use inside the block."""
  store = Objects()
  with monkeypatch.context() as patch:
    patch.setattr(backend.fsspec_backend, "_get_filesystem", lambda name: (
      fsspec.filesystem("file") if name == "file" else store
    ))  # fmt: skip
    yield store
