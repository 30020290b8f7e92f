"""Gives a folder a second name if orbax would take its own for a pattern.

Orbax looks for its files by patterns and takes the path of the run for a part of them:
below a folder named `[2026]` it finds nothing, and says nothing either.
"""

import atexit
import functools
import os
import pathlib
import re
import shutil
import tempfile

from etils import epath

from dabfusion_jax.storage.run_folder import folder_at
from data_pipeline.files import is_remote

_PATTERN = re.compile(r"\[.*\]|\\", re.DOTALL)


def plain_path(path: epath.PathLike) -> epath.Path | pathlib.Path:
  """Returns the folder, by way of a link if its path looks like a pattern.

  The folder is made if there is none. The link lives as long as this process.
  """
  folder = folder_at(path)
  if is_remote(path) or not _PATTERN.search(os.fspath(folder)):
    return folder
  return _link(folder)


@functools.cache
def _link(folder: pathlib.Path) -> pathlib.Path:
  folder.mkdir(parents=True, exist_ok=True)
  place = pathlib.Path(tempfile.mkdtemp(prefix="dabfusion_link_"))
  atexit.register(shutil.rmtree, place, ignore_errors=True)
  link = place / folder.name.translate(str.maketrans("[]\\", "___"))
  link.symlink_to(folder, target_is_directory=True)
  return link
