"""Follows the surface of a body on the device, as `data_pipeline` does on the host."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt8, UInt16

from data_pipeline.records.body_parts import IS_X, MIRRORED_MAP, MIRRORED_POSE
from data_pipeline.records.surfaces import (
  DEPTH_UNITS,
  NO_TRIANGLE,
  PLACE_UNITS,
  POINT_UNITS,
  TOLERANCE,
  signed_area,
)


class SurfacePair(NamedTuple):
  """Holds what is known of a body in the reference and the driving frame.

  Integers are those of `data_pipeline.records.surfaces.Surfaces.integers`.
  """

  triangle: UInt16[Array, "h w"]  # of the driving frame
  place: UInt8[Array, "h w 2"]  # of the driving frame
  depth: UInt16[Array, "h w"]  # of the reference
  corners: UInt16[Array, "f 3"]
  points: Int[Array, "2 n 3"]
  part_map: UInt8[Array, "2 h w"]
  part_pose: Float[Array, "2 p 6"]


def true_motion(pair: SurfacePair, is_mirrored: Bool[Array, ""]) -> dict[str, Array]:
  """Returns what `data_pipeline.records.true_motion.true_motion` does."""
  motion, visible = surface_motion(pair)
  part_map, pose = pair.part_map, pair.part_pose
  visible = jnp.where(part_map[1] > 0, visible, part_map[0] == 0)
  mirror = lambda mirrored, x: jnp.where(is_mirrored, mirrored, x)
  is_x = jnp.asarray(IS_X)[None]
  mirrored_pose = pose.reshape(2, -1)[:, MIRRORED_POSE] * (1 - 2 * is_x)
  mirrored_pose += (part_map.shape[2] - 1) * is_x
  return {
    "part_pose": mirror(mirrored_pose.reshape(pose.shape), pose),
    "part_map": mirror(jnp.asarray(MIRRORED_MAP)[part_map[1, :, ::-1]], part_map[1]),
    "motion": mirror(motion[:, ::-1] * jnp.array([-1.0, 1.0])[None, None], motion),
    "is_visible": mirror(visible[:, ::-1], visible),
  }


def surface_motion(
  pair: SurfacePair,
) -> tuple[Float[Array, "h w 2"], Bool[Array, "h w"]]:
  """Returns where the surface of the driving frame is in the reference.

  That is the displacement in pixels, 0 off the body, and whether the reference shows
  it, False off the body.
  """
  height, width = pair.triangle.shape
  is_body = pair.triangle != NO_TRIANGLE
  corners = pair.corners[jnp.where(is_body, pair.triangle, 0)].astype(jnp.int32)
  second, third = jnp.moveaxis(pair.place / PLACE_UNITS, -1, 0)
  shares = jnp.stack([1 - second - third, second, third], -1)[..., None]
  points = pair.points / POINT_UNITS[None, None]
  triangles = [x[corners] for x in points]
  there, here = ((x * shares).sum(2) for x in triangles)
  flow = jnp.where(is_body[..., None], there[..., :2] - here[..., :2], 0.0)
  column = jnp.round(jnp.arange(width)[None] + flow[..., 0]).astype(jnp.int32)
  row = jnp.round(jnp.arange(height)[:, None] + flow[..., 1]).astype(jnp.int32)
  inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
  row, column = jnp.clip(row, 0, height - 1), jnp.clip(column, 0, width - 1)
  seen = pair.depth[row, column] / DEPTH_UNITS
  same_side = signed_area(triangles[0]) * signed_area(triangles[1]) >= 0
  return flow, is_body & inside & same_side & (there[..., 2] < seen + TOLERANCE)
