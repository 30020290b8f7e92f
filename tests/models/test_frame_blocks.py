"""Blocks of the denoiser against flax layers."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dabfusion_jax.models import frame_blocks

VIDEO = jax.random.normal(jax.random.key(7), (2, 3, 4, 6, 8))


@pytest.mark.parametrize(
  ("layer", "fan_in"),
  [
    (frame_blocks.FrameConv(16), 9 * 8),
    (frame_blocks.FrameConv(16, kernel_size=4, stride=2), 16 * 8),
    (frame_blocks.FrameConvTranspose(), 16 * 8),
  ],
)
def test_kernels_and_biases_start_uniform_within_their_fan_in(layer, fan_in):
  params = layer.init(jax.random.key(0), VIDEO)["params"]
  limit = fan_in**-0.5
  for leaf in (params["kernel"], params["bias"]):
    assert 0.7 * limit < np.abs(leaf).max() <= limit
  np.testing.assert_allclose(params["kernel"].std(), limit / 3**0.5, rtol=0.1)


def test_group_norm_pools_over_frames():
  layer = frame_blocks.NormSilu(num_groups=4)
  variables = layer.init(jax.random.key(0), VIDEO)
  apply = jax.jit(layer.apply)
  x = VIDEO * jnp.arange(1.0, 4.0).reshape(1, 3, 1, 1, 1) + 2.0
  y = apply(variables, x)
  norm = nn.GroupNorm(num_groups=4, epsilon=1e-5)
  expected = nn.silu(jax.jit(norm.apply)(variables, x))
  np.testing.assert_allclose(y, expected, atol=1e-5)
  permuted = apply(variables, x[:, ::-1])[:, ::-1]
  np.testing.assert_allclose(permuted, y, atol=1e-5)
  per_frame = apply(variables, x.reshape(6, 1, *x.shape[2:])).reshape(x.shape)
  assert np.abs(per_frame - y).max() > 0.1


def test_group_norm_is_accurate_for_a_mean_far_from_zero():
  x = VIDEO + 30.0
  layer = frame_blocks.NormSilu(num_groups=1)
  y = layer.apply(layer.init(jax.random.key(0), x), x)
  exact = np.asarray(x, np.float64).reshape(2, -1)
  mean, std = exact.mean(1, keepdims=True), exact.std(1, keepdims=True)
  exact = ((exact - mean) / std).reshape(x.shape)
  np.testing.assert_allclose(y, exact / (1 + np.exp(-exact)), atol=2e-3)


def test_modulation_scales_then_shifts_the_first_norm_only():
  block = frame_blocks.ResidualBlock(8, num_groups=4)
  embedding = jax.random.normal(jax.random.key(0), (2, 1, 6))
  shapes = jax.eval_shape(block.init, jax.random.key(1), VIDEO, embedding)["params"]
  rng = np.random.default_rng(0)
  params = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), shapes)
  y = block.apply({"params": params}, VIDEO, embedding)

  layer = lambda module, name, x: module.apply({"params": params[name]}, x)
  norm = nn.GroupNorm(4, epsilon=1e-5)
  modulation = layer(nn.Dense(16), "modulation", nn.silu(embedding[:, :, None, None]))
  scale, shift = modulation[..., :8], modulation[..., 8:]
  hidden = layer(norm, "norm_0", layer(nn.Conv(8, (1, 3, 3)), "conv_0", VIDEO))
  hidden = layer(nn.Conv(8, (1, 3, 3)), "conv_1", nn.silu(hidden * (1 + scale) + shift))
  expected = VIDEO + nn.silu(layer(norm, "norm_1", hidden))
  np.testing.assert_allclose(y, expected, atol=1e-4)
