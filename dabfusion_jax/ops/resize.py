"""Resizing by small dense matrices: exact, separable, and fast on every backend."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def gaussian_kernel(scale: float) -> np.ndarray:
  """FOMM's 1-D anti-alias kernel for a reduction by `scale` (0.5, 0.25 or 0.125).

  sigma = (1/scale - 1) / 2, size 2 round(4 sigma) + 1, sum 1; float64 [k].
  """
  sigma = (1.0 / scale - 1.0) / 2.0
  radius = round(4 * sigma)
  kernel = np.exp(-(np.arange(-radius, radius + 1.0) ** 2) / (2.0 * sigma**2))
  return kernel / kernel.sum()


def _reduction_matrix(size: int, scale: float) -> np.ndarray:
  """[size * scale, size]: zero-padded Gaussian, then every (1/scale)-th pixel."""
  stride = round(1.0 / scale)
  if size % stride:
    raise ValueError(
      f"A side of {size} pixels cannot be reduced by {scale}; it must be a multiple"
      f" of {stride}."
    )
  kernel = gaussian_kernel(scale)
  radius = len(kernel) // 2
  matrix = np.zeros((size // stride, size + 2 * radius))
  for row in range(size // stride):
    matrix[row, row * stride : row * stride + len(kernel)] = kernel
  return matrix[:, radius : radius + size].astype(np.float32)


def interpolation_matrix(size: int, new_size: int) -> np.ndarray:
  """[new_size, size]: linear interpolation with aligned corners."""
  if size == 1:
    return np.ones((new_size, 1), np.float32)
  position = np.linspace(0.0, size - 1.0, new_size)
  column = np.arange(size)
  return np.maximum(0.0, 1.0 - np.abs(position[:, None] - column)).astype(np.float32)


def _apply(rows: np.ndarray, columns: np.ndarray, x):
  x = jnp.einsum("ph,...hwc->...pwc", jnp.asarray(rows, x.dtype), x)
  return jnp.einsum("qw,...pwc->...pqc", jnp.asarray(columns, x.dtype), x)


def antialias_down(
  image: Float[Array, "*b h w c"], scale: float
) -> Float[Array, "*b sh sw c"]:
  """Reduces an image by `scale` in {1, 0.5, 0.25, 0.125} (FOMM's reducer).

  Depthwise Gaussian with zero padding, then every (1/scale)-th pixel starting at 0.
  Raises `ValueError` where the side is no multiple of 1/scale.
  """
  if scale == 1:
    return image
  height, width = image.shape[-3:-1]
  return _apply(
    _reduction_matrix(height, scale), _reduction_matrix(width, scale), image
  )


def resize_aligned(
  x: Float[Array, "*b h w c"], height: int, width: int
) -> Float[Array, "*b new_h new_w c"]:
  """Bilinear resize with aligned corners: right for grids, flow and occlusion.

  A resized identity grid is the identity grid of the new size; `jax.image.resize`,
  which aligns pixel edges, does not have this property.
  """
  if x.shape[-3:-1] == (height, width):
    return x
  return _apply(
    interpolation_matrix(x.shape[-3], height),
    interpolation_matrix(x.shape[-2], width),
    x,
  )
