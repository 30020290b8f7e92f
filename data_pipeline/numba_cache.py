"""Lets one process at a time compile functions into numba's cache.

Numba caches compiled functions on disk. Two processes that fill an empty cache at the
same time can leave it inconsistent, and every later program then dies in them with a
segmentation fault. So the first program fills the cache behind a lock and leaves a mark
file; once that exists, no program waits.
"""

import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import pathlib
import sys
import tempfile
from collections.abc import Callable, Sequence


def choose_cache() -> None:
  """Gives Numba a folder for its cache where it would find none that it can write.

  It looks beside the compiled functions and in the user's home. A container that is
  run by another user may have neither, and Numba then refuses to import them.
  """
  home = pathlib.Path(os.path.expanduser("~"))
  cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", home / ".cache"))
  numba = cache / "numba"
  # Numba makes the folder, in the first of its parents that exists.
  first = next(place for place in (numba, *numba.parents) if place.exists())
  places = [pathlib.Path(__file__).parent]
  librosa = importlib.util.find_spec("librosa")
  if librosa is not None and librosa.origin is not None:
    places.append(pathlib.Path(librosa.origin).parent)
  beside = all(os.access(place, os.W_OK) for place in places)
  if "NUMBA_CACHE_DIR" in os.environ or beside or os.access(first, os.W_OK):
    return
  folder = pathlib.Path(tempfile.gettempdir()) / f"dabfusion_numba_{os.getuid()}"
  os.environ["NUMBA_CACHE_DIR"] = str(folder)


def fill_once(
  name: str, sources: Sequence[str], compile_all: Callable[[], None]
) -> None:
  """Calls `compile_all` unless an earlier process has done so.

  Args:
    name: of what is compiled.
    sources: paths of the files whose change makes a new compilation necessary.
    compile_all: calls every cached function once.
  """
  mark = pathlib.Path(tempfile.gettempdir()) / f"dabfusion_{name}_{_identity(sources)}"
  if mark.is_file():
    return
  with open(mark.with_suffix(".lock"), "w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)  # released when the file closes
    if not mark.is_file():  # another process may have filled it meanwhile
      compile_all()
      mark.touch()


def _identity(sources: Sequence[str]) -> str:
  """Returns a name that differs per user, cache folder, version and installation."""
  installed = [os.stat(source) for source in sources]
  identity = (
    os.getuid(),
    os.environ.get("NUMBA_CACHE_DIR"),
    tuple(sources),
    tuple((status.st_ctime_ns, status.st_ino) for status in installed),
    importlib.metadata.version("numba"),
    sys.version,
  )
  return hashlib.sha256(repr(identity).encode()).hexdigest()[:16]
