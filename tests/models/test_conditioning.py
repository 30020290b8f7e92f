"""Conditions of each beat mode, and their null."""

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
)
from dabfusion_jax.settings import diffusion as settings

MUSIC = jnp.eye(3, 512)
BEATS = jnp.zeros((3, 4)).at[:, 1].set(1)
FEATURES = jnp.arange(60.0).reshape(3, 4, 5)


def test_global_concat_is_scaled_music_then_beats():
  condition, per_frame = make_condition(
    MUSIC, BEATS, FEATURES, "global_concat", 512**0.5
  )
  assert condition.shape == (3, 516) and per_frame is None
  np.testing.assert_allclose(condition[:, :512], MUSIC * np.sqrt(512), rtol=1e-6)
  np.testing.assert_array_equal(condition[:, 512:], BEATS)


def test_without_beats_the_condition_is_music_alone():
  condition, per_frame = make_condition(MUSIC, BEATS, FEATURES, "none", 2.0)
  np.testing.assert_array_equal(condition, 2 * MUSIC)
  assert per_frame is None


def test_per_frame_film_keeps_the_beat_features_of_each_frame():
  condition, per_frame = make_condition(MUSIC, BEATS, FEATURES, "per_frame_film", 1.0)
  np.testing.assert_array_equal(condition, MUSIC)
  np.testing.assert_array_equal(per_frame, FEATURES)


def test_unknown_mode_is_refused():
  with pytest.raises(ValueError, match="'film'.*'global_concat'"):
    make_condition(MUSIC, BEATS, FEATURES, "film", 1.0)


def test_modes_are_those_of_the_settings():
  assert BEAT_MODES == settings.BEAT_MODES


@pytest.mark.parametrize("mode", BEAT_MODES)
def test_music_and_beats_are_dropped_together(mode):
  full = make_condition(MUSIC, BEATS, 1 + FEATURES, mode, 1.0)
  keep = jnp.array([True, False, True])
  for part, original in zip(drop_condition(*full, keep), full, strict=True):
    if original is not None:
      np.testing.assert_array_equal(part[1], 0.0)
      np.testing.assert_array_equal(part[::2], original[::2])
      assert np.any(original[1])


def test_conditions_are_dropped_with_the_given_probability():
  keys = jax.random.split(jax.random.key(0), 2000)
  assert 0.08 < 1 - np.mean(sample_keep(keys, 0.1)) < 0.12
  assert np.all(sample_keep(keys, 0.0)) and not np.any(sample_keep(keys, 1.0))


def test_initial_beat_embedding_is_zero_for_any_beats():
  layer = BeatEmbedding(8, 16)
  variables = layer.init(jax.random.key(0), FEATURES)
  np.testing.assert_array_equal(layer.apply(variables, FEATURES), 0.0)
