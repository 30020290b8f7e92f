"""Music embeddings: finite, level-free, and telling sounds apart."""

import numpy as np
import pytest

from data_pipeline.music import encoders

RATE = 22050


@pytest.fixture(scope="module")
def encode():
  return encoders.make_encoder("spectral")


def noise(seconds, colour=0, seed=0):
  audio = np.random.default_rng(seed).standard_normal(int(seconds * RATE))
  for _ in range(colour):
    audio = np.diff(audio, prepend=0.0)
  return (0.1 * audio).astype(np.float32)


def test_embedding_has_unit_norm_and_is_repeatable(encode):
  vector = encode(noise(4), RATE)
  assert vector.shape == (encode.size,) == (512,)
  np.testing.assert_allclose(np.linalg.norm(vector), 1, atol=1e-6)
  other = encoders.make_encoder("spectral")(noise(4), RATE)
  np.testing.assert_array_equal(vector, other)


def test_level_does_not_count_and_sound_does(encode):
  vector = encode(noise(4), RATE)
  assert vector @ encode(0.05 * noise(4), RATE) > 0.999
  assert vector @ encode(noise(4, seed=1), RATE) > 0.8
  assert vector @ encode(noise(4, colour=3), RATE) < 0.8


def test_silence_and_a_short_sound_are_finite(encode):
  assert np.isfinite(encode(np.zeros(RATE, np.float32), RATE)).all()
  assert np.isfinite(encode(noise(0.21), RATE)).all()
  assert np.isfinite(encode(noise(1), 44100)).all()


def test_too_short_and_no_number_are_refused(encode):
  with pytest.raises(ValueError, match="0.10 s"):
    encode(noise(0.1), RATE)
  with pytest.raises(ValueError, match="NaN"):
    encode(np.full(RATE, np.nan, np.float32), RATE)


def test_unknown_encoder_names_the_known():
  with pytest.raises(ValueError, match="'vgg'.*spectral"):
    encoders.make_encoder("vgg")


def test_constants_are_the_mean_and_deviation_of_the_songs(tmp_path):
  songs = [(noise(8, seed=s), RATE) for s in range(2)]
  encoders.measure_constants(songs, tmp_path / "c.npz")
  constants = np.load(tmp_path / "c.npz")
  rows = [
    encoders.SpectralEncoder.features(song[start : start + 4 * RATE], rate)
    for song, rate in songs
    for start in (0, 4 * RATE)
  ]
  np.testing.assert_allclose(constants["mean"], np.mean(rows, 0), rtol=1e-6)
  assert (constants["deviation"] > 0).all()
