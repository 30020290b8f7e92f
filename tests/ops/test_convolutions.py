"""Convolutions of frames against those of the libraries."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dabfusion_jax.ops import convolutions

VIDEO = jax.random.normal(jax.random.key(7), (2, 3, 4, 6, 8))


def test_folded_convolution_equals_the_three_dimensional_one():
  kernel = jax.random.normal(jax.random.key(0), (1, 4, 4, 8, 5))
  folded = convolutions.conv_frames(VIDEO, kernel, stride=2, padding=1)
  expected = jax.lax.conv_general_dilated(
    VIDEO,
    kernel,
    (1, 2, 2),
    [(0, 0), (1, 1), (1, 1)],
    dimension_numbers=("NDHWC", "DHWIO", "NDHWC"),
  )
  assert folded.shape == (2, 3, 2, 3, 5)
  np.testing.assert_allclose(folded, expected, atol=1e-4)


def test_folded_transposed_convolution_equals_the_three_dimensional_one():
  kernel = jax.random.normal(jax.random.key(0), (1, 4, 4, 5, 8))
  folded = convolutions.conv_transpose_frames(VIDEO, kernel)
  layer = nn.ConvTranspose(
    5, (1, 4, 4), (1, 2, 2), "SAME", use_bias=False, transpose_kernel=True
  )
  expected = layer.apply({"params": {"kernel": kernel}}, VIDEO)
  np.testing.assert_allclose(folded, expected, atol=1e-4)


def test_transposed_convolution_is_the_adjoint_of_the_strided_one():
  kernel = jax.random.normal(jax.random.key(0), (1, 4, 4, 5, 8))
  fine = jax.random.normal(jax.random.key(1), (2, 3, 8, 12, 5))
  down = convolutions.conv_frames(fine, kernel, stride=2, padding=1)
  up = convolutions.conv_transpose_frames(VIDEO, kernel)
  np.testing.assert_allclose(jnp.vdot(down, VIDEO), jnp.vdot(fine, up), rtol=1e-4)


def test_convolution_of_few_channels_equals_that_of_many():
  kernel = jax.random.normal(jax.random.key(0), (1, 7, 7, 8, 5))
  expected = convolutions.conv_frames(VIDEO, kernel)
  np.testing.assert_allclose(
    convolutions.conv_few_channels(VIDEO, kernel), expected, atol=1e-4
  )
