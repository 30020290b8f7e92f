"""Compiles the functions of librosa before they are used."""

import functools

import librosa
import numpy as np

from data_pipeline.numba_cache import fill_once

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
  fill_once(f"librosa_{librosa.__version__}", [librosa.__file__], lambda: _compile())


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
