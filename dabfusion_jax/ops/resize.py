"""Separable linear filters as small dense matrices: exact, and fast on every backend.

A filter of an image is one matrix for its rows and one for its columns.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32


def apply_separably(
  rows: Float32[np.ndarray, "p h"],
  columns: Float32[np.ndarray, "q w"],
  image: Float[Array, "*b h w c"],
  precision: jax.lax.PrecisionLike = None,
) -> Float[Array, "*b p q c"]:
  """Multiplies the rows and the columns of an image by a matrix each."""
  rows, columns = (jnp.asarray(matrix, image.dtype) for matrix in (rows, columns))
  image = jnp.einsum("ph,...hwc->...pwc", rows, image, precision=precision)
  return jnp.einsum("qw,...pwc->...pqc", columns, image, precision=precision)


def filter_matrix(
  kernel: Float[np.ndarray, "k"], size: int, *, stride: int = 1, padding: int = 0
) -> Float32[np.ndarray, "new_size size"]:
  """Returns the matrix of a 1-D cross-correlation with zero padding on both sides."""
  new_size = (size + 2 * padding - len(kernel)) // stride + 1
  matrix = np.zeros((new_size, size + 2 * padding))
  for row in range(new_size):
    matrix[row, row * stride : row * stride + len(kernel)] = kernel
  return matrix[:, padding : padding + size].astype(np.float32)


def interpolation_matrix(
  size: int, new_size: int
) -> Float32[np.ndarray, "new_size size"]:
  """Returns the matrix of linear interpolation with aligned corners."""
  if size == 1:
    return np.ones((new_size, 1), np.float32)
  return _linear_matrix(np.linspace(0.0, size - 1.0, new_size), size)


def scaling_matrix(
  size: int, new_size: int, half_pixel: bool
) -> Float32[np.ndarray, "new_size size"]:
  """Returns the matrix of linear interpolation without anti-aliasing.

  The scale is size / new_size. `half_pixel` aligns the outer edges of the border
  pixels, otherwise the centres of the first pixels.
  """
  position = np.arange(new_size, dtype=np.float64)
  if half_pixel:
    position = (position + 0.5) * size / new_size - 0.5
  else:
    position = position * size / new_size
  return _linear_matrix(np.clip(position, 0, size - 1), size)


def _linear_matrix(position: Float[np.ndarray, "p"], size: int) -> np.ndarray:
  """Returns the weights [p, size] of each pixel at fractional positions."""
  distance = np.abs(position[:, None] - np.arange(size))
  return np.maximum(0.0, 1.0 - distance).astype(np.float32)


def area_matrix(size: int, new_size: int) -> Float32[np.ndarray, "new_size size"]:
  """Returns the matrix of averages over equal areas, pixels counted by their share."""
  edges = np.linspace(0, size, new_size + 1)
  low = np.maximum(edges[:-1, None], np.arange(size)[None])
  high = np.minimum(edges[1:, None], np.arange(1, size + 1)[None])
  overlap = np.maximum(high - low, 0)
  return (overlap / overlap.sum(axis=1, keepdims=True)).astype(np.float32)


def gaussian_kernel(scale: float) -> Float[np.ndarray, "k"]:
  """Returns FOMM's 1-D anti-alias kernel for a reduction by `scale` (0.5, 0.25, 0.125).

  sigma = (1/scale - 1) / 2, size 2 round(4 sigma) + 1, sum 1; float64.
  """
  sigma = (1.0 / scale - 1.0) / 2.0
  radius = round(4 * sigma)
  kernel = np.exp(-(np.arange(-radius, radius + 1.0) ** 2) / (2.0 * sigma**2))
  return kernel / kernel.sum()


def antialias_down(
  image: Float[Array, "*b h w c"], scale: float
) -> Float[Array, "*b sh sw c"]:
  """Reduces an image by `scale` in {1, 0.5, 0.25, 0.125}, as FOMM does.

  Filters each channel by a Gaussian with zero padding, then takes every (1/scale)-th
  pixel, starting at 0.

  Raises:
    ValueError: another scale, or a side is not a multiple of 1/scale.
  """
  if scale not in (1, 0.5, 0.25, 0.125):
    raise ValueError(f"The scale must be 1, 0.5, 0.25 or 0.125, not {scale}.")
  if scale == 1:
    return image
  stride = round(1.0 / scale)
  for size in image.shape[-3:-1]:
    if size % stride:
      raise ValueError(
        f"A side of {size} pixels cannot be reduced by {scale}; it must be a multiple"
        f" of {stride}."
      )
  kernel = gaussian_kernel(scale)
  rows, columns = (
    filter_matrix(kernel, size, stride=stride, padding=len(kernel) // 2)
    for size in image.shape[-3:-1]
  )
  return apply_separably(rows, columns, image)


def resize_aligned(
  x: Float[Array, "*b h w c"], height: int, width: int
) -> Float[Array, "*b new_h new_w c"]:
  """Resizes bilinearly with aligned corners: right for grids, flow and occlusion.

  A resized identity grid is the identity grid of the new size. `jax.image.resize` does
  not have this property: it aligns the edges of pixels.
  """
  if x.shape[-3:-1] == (height, width):
    return x
  rows = interpolation_matrix(x.shape[-3], height)
  columns = interpolation_matrix(x.shape[-2], width)
  # Accelerators default to fewer digits than coordinates need.
  return apply_separably(rows, columns, x, precision="highest")
