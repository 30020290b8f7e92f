"""Norms against their definitions in float64."""

import jax
import jax.numpy as jnp
import numpy as np

from dabfusion_jax.ops.norms import group_norm, layer_norm

VIDEO = jax.random.normal(jax.random.key(7), (2, 3, 4, 6, 8))


def test_layer_norm_has_a_gain_and_no_bias():
  gain = jnp.arange(8.0)
  x = np.asarray(3 * VIDEO + 1, np.float64)
  std = np.sqrt(x.var(-1, keepdims=True) + 1e-5)
  expected = (x - x.mean(-1, keepdims=True)) / std * np.asarray(gain)
  np.testing.assert_allclose(layer_norm(3 * VIDEO + 1, gain), expected, atol=1e-5)


def test_group_norm_scales_and_shifts_each_frame_of_a_clip_by_itself():
  x = VIDEO * jnp.arange(1.0, 4.0).reshape(1, 3, 1, 1, 1) + 2.0
  gain, bias = jax.random.normal(jax.random.key(0), (2, 2, 3, 1, 1, 8))
  groups = np.asarray(x, np.float64).reshape(2, -1, 4, 2)
  mean, variance = (f(groups, axis=(1, 3), keepdims=True) for f in (np.mean, np.var))
  normalised = ((groups - mean) / np.sqrt(variance + 1e-5)).reshape(x.shape)
  expected = normalised * np.asarray(gain) + np.asarray(bias)
  np.testing.assert_allclose(group_norm(x, gain, bias, 4), expected, atol=1e-5)


def test_norms_of_bfloat16_have_float32_statistics():
  x = (VIDEO + 10).astype(jnp.bfloat16)
  ones, zeros = jnp.ones((2, 1, 1, 1, 8)), jnp.zeros((2, 1, 1, 1, 8))
  expected = group_norm(x.astype(jnp.float32), ones, zeros, 4)
  np.testing.assert_array_equal(group_norm(x, ones, zeros, 4), expected)
  normalised = layer_norm(x, jnp.ones(8))
  assert normalised.dtype == jnp.bfloat16
  expected = layer_norm(x.astype(jnp.float32), jnp.ones(8)).astype(jnp.bfloat16)
  np.testing.assert_array_equal(normalised, expected)
