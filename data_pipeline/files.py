"""Writes files whole or not at all, and copies files from and to remote folders.

A folder may be a `gs://` address (or any other that `etils.epath` knows, if the package
for that store is installed). Shards can only be read from a local disk, so remote ones
are copied once into a cache: `$DABFUSION_CACHE`, or `~/.cache/dabfusion_jax`.
"""

import concurrent.futures
import contextlib
import errno
import fcntl
import hashlib
import io
import json
import os
import pathlib
import re
import shutil
import struct
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from etils import epath

from data_pipeline.errors import UserError

VARIABLE = "DABFUSION_CACHE"
_COPY_THREADS = 8
_UMASK = os.umask(0)  # to be read it must be set: once, before there are threads
os.umask(_UMASK)
_BLOCK_BYTES = 2**20
_FULL = (errno.ENOSPC, errno.EDQUOT)
# What libraries say instead of an error number; the last is numpy's short write.
_SAYS_FULL = re.compile(
  r"No space left on device|Disk quota exceeded|\d+ requested and \d+ written"
)
# Headers of NumPy's files are parsed as Python. In Python 3.11 two threads that do so
# get in each other's way if the garbage collector runs callbacks, and JAX has one:
# "SystemError: AST constructor recursion depth mismatch".
_PARSING = threading.Lock()


# What NumPy raises for a damaged npz file; RuntimeError if it claims to be encrypted.
DAMAGED_NPZ = (
  *(OSError, ValueError, EOFError, KeyError, TypeError, SyntaxError, MemoryError),
  *(NotImplementedError, OverflowError, RuntimeError),
  *(struct.error, zipfile.BadZipFile, zlib.error),
)


def is_remote(path: epath.PathLike) -> bool:
  """Returns whether a path is an address such as `gs://bucket/folder`."""
  return "://" in os.fspath(path)


@contextlib.contextmanager
def whole_file(path: epath.PathLike) -> Iterator[pathlib.Path]:
  """Yields a local file to write, and moves it to `path` unless the block raises.

  A reader of `path` sees the old content or the new, never part of it. The file has the
  suffix of `path`, by which some libraries choose a format.
  """
  path = epath.Path(path)
  # On the same disk, so that renaming is enough; a remote store takes whole objects.
  folder = None if is_remote(path) else os.fspath(path.parent)
  try:
    suffix = _part_suffix(path.name)
    handle, name = tempfile.mkstemp(prefix=".", suffix=suffix, dir=folder)
  except OSError as error:
    raise _about(path, error) from error
  with contextlib.suppress(OSError):  # a disk without locks
    fcntl.flock(handle, fcntl.LOCK_EX)
  try:
    yield pathlib.Path(name)
    if is_remote(path):
      epath.Path(name).copy(path, overwrite=True)
    else:
      os.chmod(name, 0o666 & ~_UMASK)  # temporary files are private
      os.replace(name, path)
  except Exception as error:
    if is_disk_full(error):
      raise _full(path) from error
    is_ours = isinstance(error, OSError) and error.filename in (None, name)
    if not is_ours or error.errno is None:
      raise
    raise _about(path, error) from error
  finally:
    pathlib.Path(name).unlink(missing_ok=True)
    os.close(handle)


def remove_parts(path: pathlib.Path) -> None:
  """Removes what killed processes have left of a file; those that live lock theirs."""
  part = re.compile(rf"\.[a-z0-9_]{{8}}{re.escape(_part_suffix(path.name))}")
  for file in path.parent.glob(".*"):
    if part.fullmatch(file.name):
      with contextlib.suppress(OSError), file.open("r+b") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.unlink()


def _part_suffix(name: str) -> str:
  return f".{name}"[-100:]  # a longer one would be too long with what is before it


@contextlib.contextmanager
def full_disk_names(path: epath.PathLike) -> Iterator[None]:
  """Turns whatever the block raises on a full disk into an OSError that names `path`.

  For what a library writes in its own way, or into a temporary folder.
  """
  try:
    yield
  except Exception as error:
    if not is_disk_full(error):
      raise
    raise _full(path) from error


def is_disk_full(error: BaseException) -> bool:
  """Returns whether a full disk, or a quota, caused an error of any library."""
  number = getattr(error, "errno", None)
  return number in _FULL or _SAYS_FULL.search(str(error)) is not None


def _full(path: epath.PathLike) -> OSError:
  return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fspath(path))


def _about(path: epath.Path, error: OSError) -> OSError:
  """Returns the error as one of the file that was asked for, not of a temporary one."""
  return OSError(error.errno, os.strerror(error.errno), os.fspath(path))


def local_path(path: str | os.PathLike) -> pathlib.Path:
  """Returns a path on this machine with `~` expanded.

  Raises:
    UserError: it is an address, such as that of a bucket, or empty.
  """
  if is_remote(path) or not os.fspath(path):
    what = f"{path} is an address" if path else "The path is empty"
    raise UserError(f"{what}; name a place on this machine.")
  return pathlib.Path(os.path.expanduser(path))


def check_writable(path: pathlib.Path, *, is_folder: bool) -> None:
  """Checks that an output can be written, before the work that makes it.

  Args:
    path: a file, whose folder is made, or a folder, which is made.
    is_folder: which of the two.

  Raises:
    UserError: it cannot; the message says why.
    OSError: the disk is full.
  """
  folder = path if is_folder else path.parent
  if not is_folder and path.is_dir():
    raise UserError(f"{path} is a folder; name a file in it.")
  try:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
      file.write(b"0")
  except FileExistsError:
    raise UserError(f"{folder} is a file; name a folder.") from None
  except OSError as error:
    if is_disk_full(error):
      raise _full(path) from error
    raise UserError(
      f"{path} cannot be written: {error.strerror}; choose another place."
    ) from error


def write_text(path: epath.PathLike, text: str) -> None:
  """Writes a UTF-8 text file, whole or not at all."""
  with whole_file(path) as file:
    file.write_text(text, encoding="utf-8")


def write_json(path: epath.PathLike, content: Any, *, sort_keys: bool = False) -> None:
  """Writes a JSON file, whole or not at all.

  Raises:
    ValueError: `content` contains NaN or infinity, which are not JSON.
  """
  text = json.dumps(content, indent=2, sort_keys=sort_keys, allow_nan=False)
  write_text(path, text + "\n")


def read_json(path: epath.PathLike) -> dict[str, Any]:
  """Reads a JSON file that one of our programs has written.

  Raises:
    UserError: it is damaged, or holds anything but an object.
    OSError: it cannot be read.
  """
  try:
    content = json.loads(epath.Path(path).read_text(encoding="utf-8"))
  except (ValueError, RecursionError) as error:
    reason = str(error)[:80]
    raise UserError(f"{path} is damaged ({reason}); make or get it again.") from error
  if not isinstance(content, dict):
    raise UserError(f"{path} is damaged (no JSON object); make or get it again.")
  return content


def read_npz(file: epath.PathLike | io.BytesIO) -> dict[str, np.ndarray]:
  """Returns the arrays of an npz file, none of which may be pickled."""
  with _PARSING, np.load(file, allow_pickle=False) as arrays:
    return dict(arrays)


def file_sha256(path: pathlib.Path) -> str:
  """Returns the SHA-256 of a local file's bytes, in hexadecimal."""
  with path.open("rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def cache_folder() -> pathlib.Path:
  """Returns the folder for copies of remote files and for what programs keep."""
  default = pathlib.Path.home() / ".cache" / "dabfusion_jax"
  return pathlib.Path(os.environ.get(VARIABLE) or default).expanduser()


def make_private(folder: pathlib.Path) -> None:
  """Makes a folder that only its user can enter, and checks that it can be written.

  Raises:
    OSError: it cannot, or it is somebody else's.
  """
  folder.mkdir(parents=True, exist_ok=True)
  folder.chmod(0o700)  # an error for a folder of somebody else
  with tempfile.TemporaryFile(dir=folder) as file:
    file.write(b"0")  # an error on a full disk


def remove_oldest(folder: pathlib.Path, max_bytes: int) -> None:
  """Removes the oldest files of a folder until the rest takes at most `max_bytes`."""
  found = []
  for path in folder.rglob("*"):
    with contextlib.suppress(FileNotFoundError):  # another process has removed it
      if path.is_file():
        status = path.stat()
        found.append((status.st_mtime, status.st_size, path))
  total = sum(size for _, size, _ in found)
  for _, size, path in sorted(found, key=lambda entry: entry[0]):
    if total <= max_bytes:
      return
    path.unlink(missing_ok=True)
    total -= size


def local_folder(path: epath.PathLike, key: str) -> pathlib.Path:
  """Returns the folder itself if it is local, or else its folder in the cache.

  Args:
    path: any folder.
    key: identifies its contents, so that replaced contents get another folder.
  """
  if not is_remote(path):
    return pathlib.Path(path)
  digest = hashlib.sha256(f"{os.fspath(path).rstrip('/')}|{key}".encode()).hexdigest()
  return cache_folder() / digest[:20]


def fetch(path: epath.PathLike, names: Sequence[str], key: str) -> pathlib.Path:
  """Copies files of a remote folder to this machine, unless they are here already.

  Args:
    path: any folder.
    names: of files in it, as relative paths.
    key: see `local_folder`.

  Returns:
    A local folder with these files; `path` itself if it is local.

  Raises:
    OSError: a file does not exist, or arrived incomplete.
  """
  here = local_folder(path, key)
  if is_remote(path):

    def copy(name: str) -> None:
      target, source = here / name, epath.Path(path) / name
      if target.is_file():
        return
      target.parent.mkdir(parents=True, exist_ok=True)
      with whole_file(target) as file:
        with source.open("rb") as remote, file.open("wb") as local:
          shutil.copyfileobj(remote, local, _BLOCK_BYTES)
        size, expected = file.stat().st_size, source.stat().length
        if size != expected:
          raise OSError(f"{source}: {size} of {expected} bytes arrived; try again.")

    with concurrent.futures.ThreadPoolExecutor(_COPY_THREADS) as pool:
      list(pool.map(copy, names))
  return here


def send(folder: pathlib.Path, names: Sequence[str], path: epath.PathLike) -> None:
  """Copies files of a local folder to another one."""

  def copy(name: str) -> None:
    target = epath.Path(path) / name
    target.parent.mkdir(parents=True, exist_ok=True)
    epath.Path(folder / name).copy(target, overwrite=True)

  with concurrent.futures.ThreadPoolExecutor(_COPY_THREADS) as pool:
    list(pool.map(copy, names))
