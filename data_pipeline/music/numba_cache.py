"""Compiles the functions of librosa in one process at a time.

Numba caches compiled functions on disk. Two processes that fill an empty cache at the
same time can leave it inconsistent, and every later program then dies in librosa with a
segmentation fault. So the first program fills the cache behind a lock and leaves a mark
file; once that exists, no program waits.
"""

import fcntl
import functools
import hashlib
import importlib.metadata
import os
import pathlib
import sys
import tempfile

import librosa
import numpy as np

_SAMPLE_RATE = 22_050


def choose_cache() -> None:
  """Gives Numba a folder for its cache where it would find none that it can write.

  It looks beside librosa and in the user's home; a container may have neither.
  """
  beside = pathlib.Path(librosa.__file__).parent
  home = pathlib.Path(os.path.expanduser("~"))
  places = [beside, home / ".cache", home]  # the last to make the one before
  if "NUMBA_CACHE_DIR" in os.environ or any(os.access(p, os.W_OK) for p in places):
    return
  folder = pathlib.Path(tempfile.gettempdir()) / f"dabfusion_numba_{os.getuid()}"
  os.environ["NUMBA_CACHE_DIR"] = str(folder)


choose_cache()  # before librosa loads its compiled functions, when they are first used


@functools.cache
def compile_librosa() -> None:
  """Fills an empty cache with the functions for beats, onsets and features."""
  mark = pathlib.Path(tempfile.gettempdir()) / f"dabfusion_librosa_{_cache_name()}"
  if mark.is_file():
    return
  with open(mark.with_suffix(".lock"), "w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)  # released when the file closes
    if not mark.is_file():  # another process may have filled it meanwhile
      _compile()
      mark.touch()


def _cache_name() -> str:
  """Returns a name that differs per user, cache folder, version and installation."""
  installed = os.stat(librosa.__file__)
  identity = (
    os.getuid(),
    os.environ.get("NUMBA_CACHE_DIR"),
    librosa.__file__,
    installed.st_ctime_ns,
    installed.st_ino,
    librosa.__version__,
    importlib.metadata.version("numba"),
    sys.version,
  )
  return hashlib.sha256(repr(identity).encode()).hexdigest()[:16]


def _compile() -> None:
  clicks = np.zeros(4 * _SAMPLE_RATE, np.float32)
  clicks[:: _SAMPLE_RATE // 2] = 1.0
  grid = {"sr": _SAMPLE_RATE, "hop_length": 512}
  strength = librosa.onset.onset_strength(y=clicks, **grid)
  for options in ({"trim": False}, {"trim": True}, {"trim": False, "bpm": 120.0}):
    librosa.beat.beat_track(onset_envelope=strength, units="time", **options, **grid)
  librosa.onset.onset_detect(onset_envelope=strength, units="time", **grid)
  librosa.feature.chroma_stft(y=clicks, tuning=0.0, **grid)
  librosa.feature.melspectrogram(y=clicks, **grid)
  librosa.autocorrelate(strength, max_size=128)
