"""Where a run lies: a folder on a disk, or one in a bucket, `gs://bucket/run`.

Checkpoints go to a bucket directly. The small files of a run grow and are renamed,
which objects in a bucket are not: they are written to a folder of this machine, and
sent along with each checkpoint if they have changed. What a run writes after its newest
checkpoint is dropped by a resume anyway.
"""

import os
import pathlib
import shutil
import tempfile
import weakref

from etils import epath

from data_pipeline import files

_FETCHED = ("config.json", "metrics.jsonl")  # the small files that a resume needs


def folder_at(path: epath.PathLike) -> epath.Path | pathlib.Path:
  """Returns a folder on disk by its absolute path, or one in a bucket."""
  is_remote = files.is_remote(path)
  return epath.Path(path) if is_remote else pathlib.Path(path).absolute()


class RunFolder:
  """A workdir: `path` holds what all processes share, `local` the small files.

  On a disk the two are the same. In a bucket `path` is its address, and `local` a
  temporary folder that holds the run's config.json and metrics.jsonl from the start.
  """

  def __init__(self, workdir: epath.PathLike):
    """Opens a workdir, which need not exist."""
    self.path = folder_at(workdir)
    self.local = self.path
    if files.is_remote(workdir):
      self.local = pathlib.Path(tempfile.mkdtemp(prefix="dabfusion_run_"))
      weakref.finalize(self, shutil.rmtree, self.local, ignore_errors=True)
      for name in _FETCHED:
        if (self.path / name).exists():
          (self.path / name).copy(self.local / name)
    self._sent = self._file_states()

  def __str__(self) -> str:
    return os.fspath(self.path)

  def send(self) -> None:
    """Sends the files that have changed since the last call; on a disk, nothing."""
    states = self._file_states()
    changed = [name for name in states if states[name] != self._sent.get(name)]
    files.send(self.local, changed, self.path)
    self._sent = states

  def _file_states(self) -> dict[str, tuple[int, int]]:
    """Returns (size, modification time) of each small file; empty for a local run."""
    if self.local is self.path:
      return {}
    states = {}
    for path in self.local.rglob("*"):
      if path.is_file():
        name, stat = path.relative_to(self.local).as_posix(), path.stat()
        states[name] = (stat.st_size, stat.st_mtime_ns)
    return states
