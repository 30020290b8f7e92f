"""Resizing: published numbers of the anti-alias kernel, properties of each matrix."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dabfusion_jax.ops.grid import identity_grid
from dabfusion_jax.ops.resize import (
  antialias_down,
  area_matrix,
  filter_matrix,
  gaussian_kernel,
  resize_aligned,
  scaling_matrix,
)


@pytest.mark.parametrize(
  ("scale", "size", "centre"),
  [(0.5, 5, 0.618694), (0.25, 13, 0.0707370), (0.125, 29, 0.0129931)],
)
def test_kernel_has_the_reference_size_and_2d_centre_weight(scale, size, centre):
  kernel = gaussian_kernel(scale)
  assert len(kernel) == size
  np.testing.assert_allclose(kernel.sum(), 1.0, rtol=1e-12)
  np.testing.assert_allclose(kernel[size // 2] ** 2, centre, rtol=2e-5)


def test_reduction_equals_a_padded_strided_convolution():
  image = jax.random.uniform(jax.random.key(0), (1, 16, 24, 1))
  kernel = gaussian_kernel(0.25)
  plain = jax.lax.conv_general_dilated(
    image,
    jnp.asarray(np.outer(kernel, kernel)[..., None, None], jnp.float32),
    window_strides=(4, 4),
    padding=((6, 6), (6, 6)),
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )[:, :4, :6]
  np.testing.assert_allclose(antialias_down(image, 0.25), plain, atol=1e-6)


def test_a_side_that_does_not_divide_is_refused_by_name():
  with pytest.raises(ValueError, match="30 pixels.*0.25"):
    antialias_down(jnp.zeros((30, 32, 3)), 0.25)


@pytest.mark.parametrize("scale", [0.4, 0.75, 2.0])
def test_a_scale_that_is_no_known_one_is_refused(scale):
  with pytest.raises(ValueError, match=f"must be 1, 0.5.* not {scale}"):
    antialias_down(jnp.zeros((60, 60, 3)), scale)


def test_resized_identity_grid_is_an_identity_grid():
  np.testing.assert_allclose(
    resize_aligned(identity_grid(8, 6), 32, 24), identity_grid(32, 24), atol=1e-6
  )


def test_aligned_resize_keeps_the_corners():
  x = jax.random.normal(jax.random.key(0), (5, 5, 2))
  big = resize_aligned(x, 17, 17)
  np.testing.assert_allclose(big[::16, ::16], x[::4, ::4], atol=1e-6)


def test_a_filter_matrix_is_a_strided_padded_cross_correlation():
  kernel, x = np.array([1.0, 2.0, 4.0]), np.array([3.0, 0.0, -1.0, 5.0, 2.0])
  padded = np.correlate(np.pad(x, 1), kernel, mode="valid")
  np.testing.assert_allclose(filter_matrix(kernel, 5, padding=1) @ x, padded)
  np.testing.assert_allclose(filter_matrix(kernel, 5) @ x, padded[1:-1])
  strided = filter_matrix(kernel, 5, stride=2, padding=1)
  np.testing.assert_allclose(strided @ x, padded[::2])


def test_scaling_with_half_pixels_is_the_librarys_linear_resize():
  x = jax.random.normal(jax.random.key(0), (7,))
  for new_size in (4, 7, 19):
    expected = jax.image.resize(x, (new_size,), "linear", antialias=False)
    scaled = scaling_matrix(7, new_size, half_pixel=True) @ x
    np.testing.assert_allclose(scaled, expected, atol=1e-6)


def test_scaling_without_half_pixels_aligns_the_first_pixels():
  x = np.arange(6.0)
  for new_size in (3, 9):
    position = np.minimum(np.arange(new_size) * 6 / new_size, 5)
    scaled = scaling_matrix(6, new_size, half_pixel=False) @ x
    np.testing.assert_allclose(scaled, position, atol=1e-6)


def test_areas_are_averaged_and_pixels_of_small_images_repeated():
  x = np.array([1.0, 2.0, 6.0])
  np.testing.assert_allclose(area_matrix(3, 2) @ x, [(1 + 1) / 1.5, (1 + 6) / 1.5])
  np.testing.assert_allclose(area_matrix(3, 6) @ x, np.repeat(x, 2))
