"""Guidance against its formula, and the dynamic threshold."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dabfusion_jax.diffusion.guidance import dynamic_threshold, guided_eps

X_T = jax.random.normal(jax.random.key(0), (3, 2, 4, 4, 3))
TIMES = jnp.array([1, 20, 300])
CONDITION = (jax.random.normal(jax.random.key(1), (3, 5)), jnp.ones((3, 2, 1)))
NULL = jax.tree.map(jnp.zeros_like, CONDITION)


def _eps_fn(x_t, t, condition):
  vector, per_frame = condition
  frame = per_frame.reshape(len(x_t), -1, 1, 1, 1)
  example = (vector.sum(-1) + t / 100.0).reshape(-1, 1, 1, 1, 1)
  return x_t * (1.0 + example) + frame


@pytest.mark.parametrize(("scale", "only"), [(1.0, CONDITION), (0.0, NULL)])
def test_scales_one_and_zero_make_one_prediction(scale, only):
  calls = []

  def eps_fn(x_t, t, condition):
    calls.append(len(x_t))
    return _eps_fn(x_t, t, condition)

  guided = guided_eps(eps_fn, X_T, TIMES, CONDITION, NULL, scale)
  np.testing.assert_array_equal(guided, _eps_fn(X_T, TIMES, only))
  assert calls == [3]


def test_guidance_extrapolates_in_one_call_whose_neighbours_share_a_picture():
  calls = []

  def eps_fn(x_t, t, condition):
    calls.append(len(x_t))
    np.testing.assert_array_equal(x_t[0::2], x_t[1::2])
    return _eps_fn(x_t, t, condition)

  guided = guided_eps(eps_fn, X_T, TIMES, CONDITION, NULL, 2.5)
  with_music, without = (_eps_fn(X_T, TIMES, c) for c in (CONDITION, NULL))
  np.testing.assert_allclose(guided, without + 2.5 * (with_music - without), atol=1e-5)
  assert calls == [6]


def test_a_quantile_below_the_bound_is_a_plain_clip():
  x0 = jnp.linspace(-0.9, 0.9, 100).reshape(1, 100).at[0, 0].set(-7.0)
  np.testing.assert_array_equal(dynamic_threshold(x0, 0.9), jnp.clip(x0, -1, 1))


def test_threshold_rescales_each_example_by_its_quantile():
  magnitude = np.linspace(0.0, 4.0, 41, dtype=np.float32)  # 0.75 quantile: 3
  x0 = jnp.asarray(np.stack([magnitude, 0.1 * magnitude]))
  y = dynamic_threshold(x0, 0.75)
  np.testing.assert_allclose(y[0], np.minimum(magnitude, 3) / 3, atol=1e-6)
  np.testing.assert_array_equal(y[1], x0[1])


def test_quantile_is_interpolated_linearly():
  x0 = 2 * jax.random.normal(jax.random.key(0), (2, 3, 5, 5, 3))
  y = dynamic_threshold(x0, 0.9)
  limit = np.quantile(np.abs(x0).reshape(2, -1), 0.9, axis=1)
  expected = np.clip(x0[1], -limit[1], limit[1]) / limit[1]
  np.testing.assert_allclose(y[1], expected, rtol=1e-5)


def test_a_larger_bound_scales_the_threshold():
  x0 = 6 * jax.random.normal(jax.random.key(0), (2, 50))
  np.testing.assert_allclose(
    dynamic_threshold(x0, 0.9, 2.5), 2.5 * dynamic_threshold(x0 / 2.5, 0.9), rtol=1e-5
  )


def test_without_a_threshold_it_clips_at_the_bound():
  x0 = jnp.array([[-7.0, 0.5, 3.0]])
  np.testing.assert_array_equal(dynamic_threshold(x0, None, 2.0), [[-2.0, 0.5, 2.0]])
