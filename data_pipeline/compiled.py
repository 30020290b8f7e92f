"""librosa's compiled functions, made by one process at a time.

numba keeps what it compiled on disk. Two processes that fill a fresh cache at the same
moment can leave it inconsistent, and every later program then dies in librosa with a
segmentation fault. So the first use in each process is serialised by a lock.
"""

import fcntl
import functools
import os
import pathlib
import tempfile

import librosa
import numpy as np

_SAMPLE_RATE = 22_050


@functools.cache
def compile_librosa() -> None:
  """Compiles, or loads, what beats, onsets and features need; once a process."""
  lock = pathlib.Path(tempfile.gettempdir()) / f"dabfusion_librosa_{os.getuid()}.lock"
  with open(lock, "w") as file:
    fcntl.flock(file, fcntl.LOCK_EX)  # released when the file closes
    clicks = np.zeros(4 * _SAMPLE_RATE, np.float32)
    clicks[:: _SAMPLE_RATE // 2] = 1.0
    grid = {"sr": _SAMPLE_RATE, "hop_length": 512}
    strength = librosa.onset.onset_strength(y=clicks, **grid)
    for trim in (False, True):
      librosa.beat.beat_track(onset_envelope=strength, units="time", trim=trim, **grid)
    librosa.onset.onset_detect(onset_envelope=strength, units="time", **grid)
    librosa.feature.chroma_stft(y=clicks, tuning=0.0, **grid)
    librosa.feature.melspectrogram(y=clicks, **grid)
    librosa.autocorrelate(strength, max_size=128)
