"""CLIPScore from embeddings, and the sound that Wav2CLIP sees."""

import numpy as np
import pytest

from dabfusion_jax.metrics.clip_score import clip_score
from dabfusion_jax.metrics.features import wav2clip


def test_it_is_the_mean_of_cosines_whatever_the_lengths():
  frames = np.array([[2.0, 0.0], [0.0, 5.0], [-1.0, 0.0]])
  music = np.array([3.0, 0.0])
  assert clip_score(frames, music).value == pytest.approx((1 + 0 - 1) / 3)
  assert clip_score(frames[2:], music).value == -1.0  # kept, not cut at 0
  apart = np.array([[1.0, 1.0], [1.0, -1.0]])  # their mean would score 1
  assert clip_score(apart, music).value == pytest.approx(np.sqrt(0.5))


def test_a_zero_vector_is_undefined():
  zero = (None, "zero_embedding")
  assert clip_score(np.zeros((2, 3)), np.ones(3)) == zero
  assert clip_score(np.ones((2, 3)), np.zeros(3)) == zero
  assert clip_score(np.ones((0, 3)), np.ones(3)) == zero


def test_the_spectrogram_is_normalised_and_a_tone_lies_in_its_row():
  seconds = np.arange(16_000) / 16_000
  tone = np.sin(2 * np.pi * 1000 * seconds)
  found = wav2clip.log_spectrogram(tone, 16_000)
  assert found.shape == (257, 1 + 16_000 // 353)
  assert found[:, 20].argmax() == 32  # 1000 Hz of 31.25 Hz a row
  assert abs(found.mean()) < 1e-5 and abs(found.std(ddof=1) - 1) < 1e-5
  quieter = wav2clip.log_spectrogram(np.zeros(16_000), 16_000)
  assert np.abs(quieter).max() < 1e-4  # silence has no spread, and no nan


def test_another_rate_is_refused():
  with pytest.raises(ValueError, match="16000 Hz, not 44100"):
    wav2clip.log_spectrogram(np.zeros(44_100), 44_100)
  with pytest.raises(ValueError, match="less than a window of 512"):
    wav2clip.log_spectrogram(np.zeros(100), 16_000)
