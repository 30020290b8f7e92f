"""Where a run lies: a folder on a disk, or one in a bucket, `gs://bucket/run`.

Checkpoints go to a bucket directly. The small files of a run grow and are renamed,
which objects in a bucket are not: they are written to a folder of this machine, whose
news are sent along with each checkpoint. What a run writes after its newest checkpoint
is dropped by a resume anyway.
"""

import os
import pathlib
import shutil
import tempfile
import weakref

from etils import epath

from data_pipeline import files
from data_pipeline.files import is_remote

_FETCHED = ("config.json", "metrics.jsonl")  # what a resume needs of the small files


def folder_at(path: epath.PathLike) -> epath.Path | pathlib.Path:
  """A folder on disk by its absolute path, or one in a bucket."""
  return epath.Path(path) if is_remote(path) else pathlib.Path(path).absolute()


class RunFolder:
  """A workdir: `path` holds what all processes share, `local` the small files.

  On a disk both are one. In a bucket `path` is its address, and `local` a temporary
  folder that holds the run's config.json and metrics.jsonl from the start.
  """

  def __init__(self, workdir: epath.PathLike):
    """Opens a workdir, which need not exist."""
    self.path = folder_at(workdir)
    self.local = self.path
    if is_remote(workdir):
      self.local = pathlib.Path(tempfile.mkdtemp(prefix="dabfusion_run_"))
      weakref.finalize(self, shutil.rmtree, self.local, ignore_errors=True)
      for name in _FETCHED:
        if (self.path / name).exists():
          (self.path / name).copy(self.local / name)
    self._sent = self._states()

  def __str__(self) -> str:
    return os.fspath(self.path)

  def send(self) -> None:
    """Sends what this process has written since the last time; on a disk, nothing."""
    states = self._states()
    news = [name for name in states if states[name] != self._sent.get(name)]
    files.send(self.local, news, self.path)
    self._sent = states

  def _states(self) -> dict[str, tuple[int, int]]:
    """Of each small file by which a change is known; nothing to watch on a disk."""
    if self.local is self.path:
      return {}
    found = {}
    for path in self.local.rglob("*"):
      if path.is_file():
        name, stat = path.relative_to(self.local).as_posix(), path.stat()
        found[name] = (stat.st_size, stat.st_mtime_ns)
    return found
