"""The checkpoints of a run as folders of a disk, or of a bucket.

On a disk a save under way has a name of its own; in a bucket, where folders cannot be
renamed, a checkpoint is complete once it holds orbax's last file.
"""

import contextlib

from absl import logging
from etils import epath

from dabfusion_jax.storage.run_folder import folder_at, is_remote

FOLDER = "checkpoints"
UNREADABLE_FOLDER = "unreadable_checkpoints"
UNDER_WAY = ".orbax-checkpoint-tmp"  # in a name
_COMPLETE = "commit_success.txt"


def latest_step(workdir: epath.PathLike) -> int | None:
  """Step of the newest complete checkpoint of a run, or None."""
  return max(complete_steps(folder_at(workdir) / FOLDER), default=None)


def complete_steps(folder: epath.PathLike) -> list[int]:
  """Steps of the complete checkpoints in a folder, rising."""
  folder = epath.Path(folder)
  if not folder.is_dir():
    return []
  return sorted(
    int(path.name)
    for path in folder.iterdir()
    if path.name.isdigit() and not _is_under_way(path)
  )


def remove_leftovers(folder: epath.PathLike) -> None:
  """Removes what killed saves left; no save may be under way."""
  folder = epath.Path(folder)
  if folder.is_dir():
    for path in filter(_is_under_way, folder.iterdir()):
      logging.info("Removing %s, left by a save that was interrupted.", path)
      _remove(path)


def set_aside(folder: epath.PathLike, step: int) -> None:
  """Moves a checkpoint to a folder beside, where it is not looked for."""
  folder = epath.Path(folder)
  aside = folder.parent / UNREADABLE_FOLDER
  _remove(aside / str(step))
  aside.mkdir(exist_ok=True)
  if is_remote(aside):  # where a folder is there by what it holds
    (aside / "why.txt").write_text("These checkpoints could not be read.\n")
  (folder / str(step)).rename(aside / str(step))


def _is_under_way(path: epath.Path) -> bool:
  if is_remote(path):
    return not (path / _COMPLETE).exists()
  return UNDER_WAY in path.name


def _remove(path: epath.Path) -> None:
  with contextlib.suppress(OSError):  # no harm in it; it is never read
    path.rmtree()
