"""Keeps two programs from writing into one folder at the same time.

The lock belongs to an open file, so the system releases it when its process ends,
however it ends.
"""

import contextlib
import errno
import fcntl
import io
import logging
import os
import pathlib
import socket
import time
from collections.abc import Iterator

from etils import epath

from data_pipeline import files
from data_pipeline.errors import UserError

LOCK = ".lock"
# What disks answer that know no locks, such as some that are mounted over a network.
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


class LockedError(UserError):
  """A folder that another process is writing into."""


@contextlib.contextmanager
def hold_folder(path: epath.PathLike, part: str = "") -> Iterator[None]:
  """Holds a folder for this process until the block ends; makes it if necessary.

  What cannot be held, a remote folder or one on a disk that knows no locks, costs a
  warning.

  Args:
    path: of the folder.
    part: name of a share of the work, for programs that share a folder on purpose.

  Raises:
    LockedError: another process holds it, and the message says which one; or another
      user has left a lock there that this one may not write.
    UserError: the folder cannot be written.
    OSError: the disk is full.
  """
  if files.is_remote(path):
    _warn_unheld(path)
    yield
    return
  folder, name = pathlib.Path(path), f"{LOCK}{part}"
  files.check_writable(folder, is_folder=True)
  with _open(folder / name) as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      file.seek(0)
      holder = file.read().decode().strip() or "another process"
      raise LockedError(
        f"{folder} is being written by {holder}; wait for it or choose another folder."
      ) from None
    except OSError as error:
      if error.errno not in _NO_LOCKS:
        raise
      _warn_unheld(folder)
    started = time.strftime("%Y-%m-%d %H:%M:%S")
    text = f"process {os.getpid()} on {socket.gethostname()}, since {started}"
    with files.full_disk_names(folder):
      file.truncate(0)
      file.write(text.encode())
    yield


def _open(path: pathlib.Path) -> io.FileIO:
  """Opens a lock, without a buffer: what a full disk refuses is not tried again."""
  try:
    return open(path, "ab+", buffering=0)
  except PermissionError as error:
    raise LockedError(
      f"{path.parent} was last written by another user, whose {path.name} in it you may"
      " not write; have it deleted once nobody writes there, or choose another folder."
    ) from error


def _warn_unheld(path: epath.PathLike) -> None:
  logging.getLogger(__name__).warning(
    "%s cannot be locked there: let no other program write to it.", path
  )
