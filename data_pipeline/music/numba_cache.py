"""Compiles the functions of librosa before they are used."""

import functools
import importlib
from collections.abc import Callable

import librosa
import numpy as np

from data_pipeline.numba_cache import fill_once

_SAMPLE_RATE = 22_050


@functools.cache
def compile_librosa() -> None:
  """Fills an empty cache with the functions for beats, onsets and features."""
  sources = [librosa.__file__, __file__]
  fill_once(f"librosa_{librosa.__version__}", sources, lambda: _compile())
  import_beat()


def import_beat() -> None:
  """Imports `librosa.beat` with all of its functions in Numba's cache.

  librosa keeps one of them out of it (`cache=False`), which every process would then
  compile again: 2 s, as long as the rest of the import takes.
  """
  import numba  # 0.3 s, which programs without music do not need

  def cached(*signature: object, **options: object) -> Callable:
    return compile_function(*signature, **{**options, "cache": True})

  compile_function = numba.guvectorize
  numba.guvectorize = cached
  try:
    importlib.import_module("librosa.beat")
  finally:
    numba.guvectorize = compile_function


def _compile() -> None:
  import_beat()
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
