"""The true motion of a generated body as what a stage 1 gives: flow and occlusion."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, UInt8

from dabfusion_jax.ops.grid import identity_grid
from dabfusion_jax.ops.resize import (
  apply_separably,
  interpolation_matrix,
  resize_aligned,
)

# Share of body in a cell with which half of its motion is left.
_MIN_SHARE = 0.03


def on_grid(
  motion: Float[Array | np.ndarray, "t h w 2"],
  mask: Bool[Array | np.ndarray, "t h w"],
  size: int,
  min_share: float = 0.0,
) -> Float[Array, "t size size 2"]:
  """Returns the true motion as well as a latent grid can hold it, as sampling grids.

  Each cell holds the mean over the body around it, weighted as the cell is read.

  Args:
    motion: displacement into the reference, (x, y) in pixels.
    mask: the body.
    size: cells per side of the grid.
    min_share: of the body in a cell whose motion is halved; more is hardly changed.
  """
  height, width = motion.shape[1:3]
  weight = jnp.asarray(mask, jnp.float32)[..., None]
  share = _spread(weight, size)
  full = _spread(jnp.ones((1, height, width, 1)), size)
  pixels = _spread(motion * weight, size)
  pixels /= jnp.maximum(share + min_share * full, 1e-6)
  scale = jnp.array([(width - 1) / 2, (height - 1) / 2])
  return pixels / scale[None, None, None] + identity_grid(size, size)[None]


def true_flow(
  motion: Float[Array | np.ndarray, "t h w 2"],
  is_body: Bool[Array | np.ndarray, "t h w"],
  is_visible: Bool[Array | np.ndarray, "t h w"],
  size: int,
) -> tuple[Float[Array, "t s s 2"], Float[Array, "t s s 1"]]:
  """Returns flow and occlusion of frames from their references, on the grid of stage 1.

  Args:
    motion: displacement of every pixel into the reference, (x, y) in pixels.
    is_body: the pixels of the body.
    is_visible: what the reference shows of the frame.
    size: cells per side.
  """
  flow = on_grid(motion, is_body, size, _MIN_SHARE)
  seen = _spread(jnp.asarray(is_visible, jnp.float32)[..., None], size)
  return flow, seen / _spread(jnp.ones((1, *motion.shape[1:3], 1)), size)


def part_shares(
  part_map: UInt8[Array | np.ndarray, "t h w"], num_parts: int, size: int
) -> Float[Array, "t s s r"]:
  """Returns which part each cell should move with, as shares that add up to 1.

  The shares are those of the pixels around a cell, weighted as it is read. The
  background, which is the first, counts as little as in `true_flow`.

  Args:
    part_map: 1 + the part of every pixel, 0 being the background.
    num_parts: without the background.
    size: cells per side.
  """
  is_part = jax.nn.one_hot(jnp.asarray(part_map), num_parts + 1)
  weight = jnp.ones(num_parts + 1).at[0].set(_MIN_SHARE)
  shares = _spread(is_part * weight[None, None, None], size)
  return shares / shares.sum(-1, keepdims=True)


def is_shared(
  is_body: Bool[Array | np.ndarray, "t h w"], size: int
) -> Bool[Array, "t h w"]:
  """Returns which pixels are interpolated from any of the cells that the body is in.

  Args:
    is_body: the pixels of the body.
    size: cells per side.
  """
  cells = _spread(jnp.asarray(is_body, jnp.float32)[..., None], size) > 0
  return resize_aligned(cells.astype(jnp.float32), *is_body.shape[1:])[..., 0] > 0


def _spread(values: Float[Array, "t h w c"], size: int) -> Float[Array, "t s s c"]:
  """Sums pixels into the cells they are interpolated from."""
  rows, columns = (interpolation_matrix(size, side).T for side in values.shape[1:3])
  return apply_separably(rows, columns, values, precision="highest")
