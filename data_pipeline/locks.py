"""Keeps two programs from writing into one folder at the same time.

The lock belongs to an open file, so the system releases it when its process ends,
however it ends.
"""

import contextlib
import errno
import fcntl
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
    LockedError: another process holds it; the message says which one.
    UserError: the folder cannot be written.
  """
  if files.is_remote(path):
    _warn_unheld(path)
    yield
    return
  folder, name = pathlib.Path(path), f"{LOCK}{part}"
  files.check_writable(folder, is_folder=True)
  with open(folder / name, "a+", encoding="utf-8") as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      file.seek(0)
      holder = file.read().strip() or "another process"
      raise LockedError(
        f"{folder} is being written by {holder}; wait for it or choose another folder."
      ) from None
    except OSError as error:
      if error.errno not in _NO_LOCKS:
        raise
      _warn_unheld(folder)
    file.truncate(0)
    started = time.strftime("%Y-%m-%d %H:%M:%S")
    file.write(f"process {os.getpid()} on {socket.gethostname()}, since {started}")
    file.flush()
    yield


def _warn_unheld(path: epath.PathLike) -> None:
  logging.getLogger(__name__).warning(
    "%s cannot be locked there: let no other program write to it.", path
  )
