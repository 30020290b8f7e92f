"""Music embeddings are finite, independent of level, and tell sounds apart."""

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


def test_the_embedding_has_unit_norm_and_is_repeatable(encode):
  vector = encode(noise(4), RATE)
  assert vector.shape == (encode.size,) == (512,)
  np.testing.assert_allclose(np.linalg.norm(vector), 1, atol=1e-6)
  other = encoders.make_encoder("spectral")(noise(4), RATE)
  np.testing.assert_array_equal(vector, other)


def test_the_embedding_depends_on_the_sound_but_not_on_its_level(encode):
  vector = encode(noise(4), RATE)
  assert vector @ encode(0.05 * noise(4), RATE) > 0.999
  assert vector @ encode(noise(4, seed=1), RATE) > 0.8
  assert vector @ encode(noise(4, colour=3), RATE) < 0.8


def test_embeddings_of_silence_and_of_short_sound_are_finite(encode):
  assert np.isfinite(encode(np.zeros(RATE, np.float32), RATE)).all()
  assert np.isfinite(encode(noise(0.21), RATE)).all()
  assert np.isfinite(encode(noise(1), 44100)).all()


def test_too_short_sound_and_nan_are_refused(encode):
  with pytest.raises(ValueError, match="0.10 s"):
    encode(noise(0.1), RATE)
  with pytest.raises(ValueError, match="NaN"):
    encode(np.full(RATE, np.nan, np.float32), RATE)


def test_the_error_for_an_unknown_encoder_names_the_known_ones():
  with pytest.raises(ValueError, match="'vgg'.*spectral"):
    encoders.make_encoder("vgg")


def test_constants_are_the_mean_and_deviation_of_the_songs(tmp_path):
  songs = [(noise(8, seed=s), RATE) for s in range(2)]
  encoders.measure_constants(songs, tmp_path / "c.npz")
  constants = np.load(tmp_path / "c.npz")
  features = [
    encoders.SpectralEncoder.features(song[start : start + 4 * RATE], rate)
    for song, rate in songs
    for start in (0, 4 * RATE)
  ]
  np.testing.assert_allclose(constants["mean"], np.mean(features, 0), rtol=1e-6)
  assert (constants["deviation"] > 0).all()
