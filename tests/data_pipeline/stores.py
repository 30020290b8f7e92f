"""A store of objects in memory that answers to `gs://`, in place of one in a cloud."""

import contextlib

import fsspec
from etils.epath import backend
from fsspec.implementations.memory import MemoryFileSystem


class Objects(MemoryFileSystem):
  """`gs://bucket/name` -> bytes; folders are but a way of speaking."""

  protocol = ("gs", "gcs")
  cachable = False

  def __init__(self):
    super().__init__()
    self.store, self.pseudo_dirs = {}, [""]

  def mkdir(self, path, create_parents=True, **options): ...

  def makedirs(self, path, exist_ok=False): ...

  def names(self):
    return sorted(name.removeprefix("gs://") for name in self.store)


@contextlib.contextmanager
def objects(monkeypatch):
  """The store that all `gs://` paths lead to, until the block ends."""
  store = Objects()
  with monkeypatch.context() as patch:
    patch.setattr(backend.fsspec_backend, "_get_filesystem", lambda name: (
      fsspec.filesystem("file") if name == "file" else store
    ))  # fmt: skip
    yield store
