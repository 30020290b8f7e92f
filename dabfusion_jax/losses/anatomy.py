"""Errors of flow and keypoints against the true motion of a generated body.

Reconstruction alone does not need the right flow: a decoder can draw a raised arm that
no flow moved. Where the motion of every pixel is known, these errors ask for it.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, UInt8

from dabfusion_jax.ops.grid import identity_grid
from dabfusion_jax.ops.pooling import average_pool
from dabfusion_jax.ops.resize import resize_aligned
from dabfusion_jax.ops.true_flow import part_shares

_ASPECT = 3.0  # of a limb, length by width; brings jacobians to about 1


def flow_errors(
  flow: Float[Array, "b s s 2"], motion: Float[Array | np.ndarray, "b h h 2"]
) -> Float[Array, "b h h"]:
  """Returns the end-point error of a flow per pixel, in half widths of the picture.

  Args:
    flow: sampling grids, resized to the pictures by linear interpolation with aligned
      corners, as pictures are warped.
    motion: the true displacement into the reference, (x, y) in pixels.
  """
  size = motion.shape[1]
  offset = resize_aligned(flow, size, size) - identity_grid(size, size)[None]
  error = offset - motion * (2 / (size - 1))
  return jnp.sqrt((error**2).sum(-1) + 1e-12)


def masked_mean(
  values: Float[Array, "b h w"],
  mask: Bool[Array | np.ndarray, "b h w"] | Float[Array, "b h w"],
) -> Float[Array, ""]:
  """Returns the mean of the values inside the mask, 0 if it is empty."""
  return (values * mask).sum() / jnp.maximum(mask.sum(), 1)


def part_keypoints(
  part_pose: Float[Array | np.ndarray, "b p 6"], size: int
) -> tuple[Float[Array, "b p 2"], Float[Array, "b p 2 2"]]:
  """Returns the positions and jacobians that keypoints at body parts should have.

  A keypoint is at the middle of its part. The columns of its jacobian are the part's
  axis, as long as the part is in relation to its width, and the normal of it: so
  J_ref J_dri^-1 turns and foreshortens the part as the body does.

  Args:
    part_pose: x0, y0, r0, x1, y1, r1 of the capsule of each part, in pixels.
    size: of the picture, pixels per side.
  """
  part_pose = jnp.asarray(part_pose)
  start, end = part_pose[..., 0:2], part_pose[..., 3:5]
  position = (start + end) / (size - 1) - 1
  axis = end - start
  length = jnp.sqrt((axis**2).sum(-1, keepdims=True))
  direction = axis / jnp.maximum(length, 1e-3)
  breadth = part_pose[..., 2:3] + part_pose[..., 5:6]
  aspect = (length + breadth) / jnp.maximum(breadth, 1e-3)
  normal = jnp.stack([-direction[..., 1], direction[..., 0]], -1)
  return position, jnp.stack([direction * aspect / _ASPECT, normal], -1)


def heatmap_divergence(
  logits: Float[Array, "b s s p"], position: Float[Array, "b p 2"]
) -> Float[Array, ""]:
  """Returns the mean divergence (nats) of heatmaps from Gaussians at true positions.

  The Gaussians have a standard deviation of one cell. Parts outside the picture do not
  count.

  Args:
    logits: of the heatmaps, before the softmax over all cells.
    position: of the parts, in [-1, 1] inside the picture.
  """
  size = logits.shape[1]
  distance = (
    identity_grid(size, size)[None, :, :, None] - position[:, None, None]
  ) ** 2
  target = -distance.sum(-1) * ((size - 1) / 2) ** 2 / 2
  over_cells = lambda x: x.reshape(len(x), -1, x.shape[-1])
  target = jax.nn.log_softmax(over_cells(target), axis=1)
  guess = jax.nn.log_softmax(over_cells(logits), axis=1)
  divergence = (jnp.exp(target) * (target - guess)).sum(1)
  is_inside = (jnp.abs(position) <= 1).all(-1)
  return (divergence * is_inside).sum() / jnp.maximum(is_inside.sum(), 1)


def match_divergence(
  logits: Float[Array, "b q k"],
  flow: Float[Array, "b m m 2"],
  occlusion: Float[Array, "b m m 1"],
) -> Float[Array, ""]:
  """Returns the divergence (nats) of matches from Gaussians at the true places.

  The Gaussians have a standard deviation of one place. Cells count as far as the
  reference shows them; those that move and those that do not count alike.

  Args:
    logits: of every place k of the reference for every cell q.
    flow, occlusion: the true ones.
  """
  size, cells = math.isqrt(logits.shape[-1]), flow.shape[1]
  place = identity_grid(size, size).reshape(1, 1, -1, 2)
  distance = (place - flow.reshape(len(flow), -1, 1, 2)) ** 2
  target = jax.nn.log_softmax(-distance.sum(-1) * ((size - 1) / 2) ** 2 / 2)
  guess = jax.nn.log_softmax(logits)
  error = (jnp.exp(target) * (target - guess)).sum(-1).reshape(-1, cells, cells)
  still = identity_grid(cells, cells)[None]
  moves = jnp.abs(flow - still).sum(-1) > 1e-3
  seen = occlusion[..., 0]
  return masked_mean(error, moves * seen) + masked_mean(error, ~moves * seen)


def region_error(
  logits: Float[Array, "b s s r"], part_map: UInt8[Array | np.ndarray, "b h h"]
) -> Float[Array, ""]:
  """Returns the divergence (nats) of regions from the parts that cells move with.

  Those are `part_shares`: a cell that a thin arm crosses is the arm's. The mean over
  cells of the body and that over the others count alike.
  """
  shares = part_shares(part_map, logits.shape[-1] - 1, logits.shape[1])
  error = (shares * (jnp.log(shares + 1e-9) - jax.nn.log_softmax(logits))).sum(-1)
  is_body = shares[..., 0] < 0.5
  return masked_mean(error, is_body) + masked_mean(error, ~is_body)


def visibility_error(
  logits: Float[Array, "b s s 1"],
  is_visible: Bool[Array | np.ndarray, "b h h"],
  part_map: UInt8[Array | np.ndarray, "b h h"],
) -> Float[Array, ""]:
  """Returns the cross entropy (nats) of the occlusion against what can be seen.

  The mean over the body and that over the background count alike.

  Args:
    logits: of the occlusion map.
    is_visible: what the reference shows of the driving frame.
    part_map: of the driving frame, 0 being the background.
  """
  size = is_visible.shape[1] // logits.shape[1]
  cells = lambda x: average_pool(jnp.asarray(x, jnp.float32)[..., None], size)[..., 0]
  body, logits = cells(part_map > 0), logits[..., 0]
  error = jax.nn.softplus(logits) - logits * cells(is_visible)
  return masked_mean(error, body) + masked_mean(error, 1 - body)
