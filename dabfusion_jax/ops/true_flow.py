"""The true motion of a generated body as what a stage 1 gives: flow and occlusion."""

import numpy as np
from jaxtyping import Bool, Float, Float32

from dabfusion_jax.ops.grid import identity_grid
from dabfusion_jax.ops.resize import interpolation_matrix

# Share of body in a cell with which half of its motion is left.
_MIN_SHARE = 0.03


def on_grid(
  motion: Float[np.ndarray, "t h w 2"],
  mask: Bool[np.ndarray, "t h w"],
  size: int,
  min_share: float = 0.0,
) -> Float32[np.ndarray, "t size size 2"]:
  """Returns the true motion as well as a latent grid can hold it, as sampling grids.

  Each cell holds the mean over the body around it, weighted as the cell is read.

  Args:
    motion: displacement into the reference, (x, y) in pixels.
    mask: the body.
    size: cells per side of the grid.
    min_share: of the body in a cell whose motion is halved; more is hardly changed.
  """
  height, width = motion.shape[1:3]
  weight = mask[..., None].astype(np.float64)
  share = _spread(weight, size)
  full = _spread(np.ones((1, height, width, 1)), size)
  pixels = _spread(motion * weight, size)
  pixels /= np.maximum(share + min_share * full, 1e-6)
  grid = pixels / ((width - 1) / 2, (height - 1) / 2)
  return (grid + np.asarray(identity_grid(size, size))).astype(np.float32)


def true_flow(
  motion: Float[np.ndarray, "t h w 2"],
  is_body: Bool[np.ndarray, "t h w"],
  is_visible: Bool[np.ndarray, "t h w"],
  size: int,
) -> tuple[Float32[np.ndarray, "t s s 2"], Float32[np.ndarray, "t s s 1"]]:
  """Returns flow and occlusion of a clip from its picture, on the grid of stage 1.

  Args:
    motion: displacement of every pixel into the picture, (x, y) in pixels.
    is_body: the pixels of the body.
    is_visible: what the picture shows of every frame.
    size: cells per side.
  """
  flow = on_grid(motion, is_body, size, _MIN_SHARE)
  ones = np.ones((1, *motion.shape[1:3], 1))
  seen = _spread(is_visible[..., None].astype(np.float64), size) / _spread(ones, size)
  return flow, seen.astype(np.float32)


def _spread(values: Float[np.ndarray, "t h w c"], size: int) -> np.ndarray:
  """Sums pixels into the cells they are interpolated from."""
  rows, columns = (interpolation_matrix(size, side) for side in values.shape[1:3])
  return np.einsum("thwc,hi,wj->tijc", values, rows, columns, optimize=True)
