import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dabfusion_jax.models.conditioning import (
  BEAT_MODES,
  BeatEmbedding,
  drop_condition,
  make_condition,
  sample_keep,
  sinusoid,
)

MUSIC = jnp.eye(3, 512)
BEATS = jnp.zeros((3, 4)).at[:, 1].set(1)
FEATURES = jnp.arange(60.0).reshape(3, 4, 5)


def test_global_concat_is_scaled_music_then_beats():
  condition, per_frame = make_condition(MUSIC, BEATS, None, "global_concat", 512**0.5)
  assert condition.shape == (3, 516) and per_frame is None
  np.testing.assert_allclose(condition[:, :512], MUSIC * np.sqrt(512), rtol=1e-6)
  np.testing.assert_array_equal(condition[:, 512:], BEATS)


def test_music_alone_is_the_paper_s_model_b():
  condition, _ = make_condition(MUSIC, None, None, "global_concat", music_scale=1.0)
  np.testing.assert_array_equal(condition, MUSIC)


def test_departures_keep_beats_per_frame():
  condition, per_frame = make_condition(MUSIC, BEATS, FEATURES, "per_frame_film", 1.0)
  np.testing.assert_array_equal(per_frame, FEATURES)
  assert condition.shape == (3, 512)
  condition, per_frame = make_condition(MUSIC, BEATS, None, "beat_channel", 1.0)
  np.testing.assert_array_equal(per_frame, BEATS[..., None])
  assert condition.shape == (3, 512)


@pytest.mark.parametrize(
  ("mode", "missing"), [("per_frame_film", "beat_features"), ("beat_channel", "beats")]
)
def test_missing_beats_are_named(mode, missing):
  with pytest.raises(ValueError, match=f"{mode}.* {missing}, which is missing"):
    make_condition(MUSIC, None, None, mode, 1.0)


def test_unknown_mode_is_refused():
  with pytest.raises(ValueError, match="'film'.*'global_concat'"):
    make_condition(MUSIC, BEATS, FEATURES, "film", 1.0)


@pytest.mark.parametrize("mode", BEAT_MODES)
def test_music_and_beats_are_dropped_together(mode):
  full = make_condition(MUSIC, BEATS, 1 + FEATURES, mode, 1.0)
  keep = jnp.array([True, False, True])
  for part, original in zip(drop_condition(*full, keep), full, strict=True):
    if original is not None:
      np.testing.assert_array_equal(part[1], 0.0)
      np.testing.assert_array_equal(part[::2], original[::2])
      assert np.any(original[1])


def test_conditions_are_dropped_as_often_as_asked():
  keys = jax.random.split(jax.random.key(0), 2000)
  assert 0.08 < 1 - np.mean(sample_keep(keys, 0.1)) < 0.12
  assert np.all(sample_keep(keys, 0.0)) and not np.any(sample_keep(keys, 1.0))


def test_sinusoid_is_sines_then_cosines():
  t = jnp.array([0, 7, 999])
  frequency = 10000.0 ** (-np.arange(32) / 31)
  angle = np.asarray(t, np.float64)[:, None] * frequency
  expected = np.concatenate([np.sin(angle), np.cos(angle)], axis=-1)
  np.testing.assert_allclose(sinusoid(t, 64), expected, atol=1e-4)
  np.testing.assert_allclose(sinusoid(t[:2], 64), expected[:2], atol=1e-6)


def test_fresh_beat_embedding_is_zero_whatever_the_beats():
  layer = BeatEmbedding(8, 16)
  variables = layer.init(jax.random.key(0), FEATURES)
  np.testing.assert_array_equal(layer.apply(variables, FEATURES), 0.0)
