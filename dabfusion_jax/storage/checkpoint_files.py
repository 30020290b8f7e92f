"""The checkpoints of a run as folders on a disk, or in a bucket.

On a disk an unfinished save has a name of its own. In a bucket, where folders cannot be
renamed, a checkpoint is complete once it holds the last file that orbax writes.
"""

import contextlib

from absl import logging
from etils import epath

from dabfusion_jax.storage.run_folder import folder_at
from data_pipeline.errors import UserError
from data_pipeline.files import is_remote, read_json

FOLDER = "checkpoints"
UNREADABLE_FOLDER = "unreadable_checkpoints"
UNFINISHED = ".orbax-checkpoint-tmp"  # part of the name of an unfinished save
_COMPLETE = "commit_success.txt"


def latest_step(workdir: epath.PathLike) -> int | None:
  """Returns the step of the newest complete checkpoint of a run, or None."""
  return max(complete_steps(folder_at(workdir) / FOLDER), default=None)


def complete_steps(folder: epath.PathLike) -> list[int]:
  """Returns the steps of the complete checkpoints in a folder, in rising order."""
  folder = epath.Path(folder)
  if not folder.is_dir():
    return []
  return sorted(
    int(path.name)
    for path in folder.iterdir()
    if path.name.isdigit() and not _is_unfinished(path)
  )


def remove_leftovers(folder: epath.PathLike) -> None:
  """Removes what killed saves left behind; no save may be in progress."""
  folder = epath.Path(folder)
  if folder.is_dir():
    for path in filter(_is_unfinished, folder.iterdir()):
      logging.info("Removing %s, left by an interrupted save.", path)
      _remove(path)


def remove_damaged_losses(folder: epath.PathLike) -> None:
  """Removes unreadable losses of checkpoints; orbax reads them all, but needs none."""
  for step in complete_steps(folder):
    path = epath.Path(folder) / str(step) / "metrics" / "metrics"
    try:
      if path.exists():
        read_json(path)
    except UserError:
      logging.warning("Removing %s, damaged: step %d is no best one now.", path, step)
      path.unlink()


def set_aside(folder: epath.PathLike, step: int) -> None:
  """Moves a checkpoint to a sibling folder, where no restore looks for it."""
  folder = epath.Path(folder)
  aside = folder.parent / UNREADABLE_FOLDER
  _remove(aside / str(step))
  aside.mkdir(exist_ok=True)
  if is_remote(aside):  # buckets have no empty folders
    (aside / "why.txt").write_text("These checkpoints could not be read.\n")
  (folder / str(step)).rename(aside / str(step))


def _is_unfinished(path: epath.Path) -> bool:
  if is_remote(path):
    return not (path / _COMPLETE).exists()
  return UNFINISHED in path.name


def _remove(path: epath.Path) -> None:
  with contextlib.suppress(OSError):  # a leftover does no harm: it is never read
    path.rmtree()
