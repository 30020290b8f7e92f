"""Compiles the functions of librosa before they are used."""

import functools

import librosa
import numpy as np

from data_pipeline.numba_cache import fill_once

_SAMPLE_RATE = 22_050


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
