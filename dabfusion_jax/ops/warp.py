"""Backward warp: samples an image at the points of a grid.

Two forms stand side by side. `warp_by_map_coordinates` states the operation by
`jax.scipy.ndimage`. `warp` is tested to be equal to it to 1e-5, gradients included, and
is what the models use: it gathers whole channel vectors, and with 256 channels its
backward pass is about three times as fast on CPU.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def _pixel_coordinates(grid, height, width):
  """Returns (x, y) in pixels for grid values; inverts `grid.identity_grid`."""
  x = (grid[..., 0] + 1.0) * 0.5 * (width - 1)
  y = (grid[..., 1] + 1.0) * 0.5 * (height - 1)
  return x, y


def warp_by_map_coordinates(
  image: Float[Array, "h w c"], grid: Float[Array, "gh gw 2"]
) -> Float[Array, "gh gw c"]:
  """Samples `image` bilinearly at `grid` (paper Eq. 1); zero outside the image.

  `grid` holds absolute (x, y) in [-1, 1] with -1 and +1 at the centres of the border
  pixels. Map it over batch and time axes: `jax.vmap(jax.vmap(warp))`.
  """
  x, y = _pixel_coordinates(grid, *image.shape[:2])

  def sample(channel):
    return jax.scipy.ndimage.map_coordinates(
      channel, [y, x], order=1, mode="constant", cval=0.0
    )

  return jax.vmap(sample, in_axes=-1, out_axes=-1)(image)


def warp(
  image: Float[Array, "h w c"], grid: Float[Array, "gh gw 2"]
) -> Float[Array, "gh gw c"]:
  """Equals `warp_by_map_coordinates`, but gathers all channels at once."""
  height, width, channels = image.shape
  x, y = _pixel_coordinates(grid, height, width)
  x0, y0 = jnp.floor(x), jnp.floor(y)
  flat = image.reshape(height * width, channels)
  out = jnp.zeros((*grid.shape[:2], channels), image.dtype)
  for dy in (0, 1):
    for dx in (0, 1):
      xi, yi = x0 + dx, y0 + dy
      weight = (1.0 - jnp.abs(x - xi)) * (1.0 - jnp.abs(y - yi))
      inside = (xi >= 0) & (xi < width) & (yi >= 0) & (yi < height)
      weight = jnp.where(inside, weight, 0.0).astype(image.dtype)
      index = jnp.clip(yi, 0, height - 1) * width + jnp.clip(xi, 0, width - 1)
      corner = jnp.take(flat, index.astype(jnp.int32), axis=0, mode="clip")
      out += weight[..., None] * corner
  return out
