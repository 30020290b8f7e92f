"""Names the parts of a generated body, and computes how its surface moves.

Every body pixel belongs to a tapered capsule, one for each part, and keeps its place on
that capsule. The rotation of a part about its own axis is not part of the pose, and is
left out.
"""

import numpy as np
from jaxtyping import Bool, Float32, UInt8

PARTS = (
  "hips", "waist", "torso", "left_flank", "right_flank", "shoulders", "neck", "head",
  "hair", "left_thigh", "right_thigh", "left_shin", "right_shin", "left_foot",
  "right_foot", "left_upper_arm", "right_upper_arm", "left_forearm", "right_forearm",
  "left_hand", "right_hand",
)  # fmt: skip


def _mirrored(name: str) -> str:
  """Returns the part that is seen in the place of `name` in a mirror."""
  other = {"left": "right", "right": "left"}
  side, _, rest = name.partition("_")
  return f"{other[side]}_{rest}" if side in other else name


# Index of the part that each part becomes in a mirror.
MIRRORED = tuple(PARTS.index(_mirrored(name)) for name in PARTS)
# Joints of a body, and the ends (0, 1) of the parts that meet there.
_JOINT_ENDS = {
  "left_shoulder": ("left_upper_arm", 0), "left_elbow": ("left_upper_arm", 1),
  "left_wrist": ("left_forearm", 1), "right_shoulder": ("right_upper_arm", 0),
  "right_elbow": ("right_upper_arm", 1), "right_wrist": ("right_forearm", 1),
  "left_hip": ("left_thigh", 0), "left_knee": ("left_thigh", 1),
  "left_ankle": ("left_shin", 1), "right_hip": ("right_thigh", 0),
  "right_knee": ("right_thigh", 1), "right_ankle": ("right_shin", 1),
}  # fmt: skip
JOINTS = (*_JOINT_ENDS, "head")  # the head: its middle
_ACROSS = ("hips", "waist", "shoulders")  # from a left joint to a right one
# In a mirror, the part of each pixel, the place of each number of a pose, all parts in
# a row, and which of those numbers are x coordinates.
MIRRORED_MAP = np.array([0, *(1 + i for i in MIRRORED)], np.uint8)
MIRRORED_POSE = np.concatenate(
  [6 * part + (np.arange(6) + 3 * (PARTS[part] in _ACROSS)) % 6 for part in MIRRORED]
)
IS_X = np.tile(np.float32([1, 0, 0]), 2 * len(PARTS))


def joints_of(part_pose: Float32[np.ndarray, "t p 6"]) -> Float32[np.ndarray, "t j 2"]:
  """Returns `JOINTS` of the poses of a body, (x, y) in pixels."""
  ends = part_pose.reshape(*part_pose.shape[:2], 2, 3)[..., :2]
  joints = [ends[:, PARTS.index(part), end] for part, end in _JOINT_ENDS.values()]
  joints.append(ends[:, PARTS.index("head")].mean(1))
  return np.stack(joints, 1)


def mirror(
  part_map: UInt8[np.ndarray, "t h w"], part_pose: Float32[np.ndarray, "t p 6"]
) -> tuple[UInt8[np.ndarray, "t h w"], Float32[np.ndarray, "t p 6"]]:
  """Returns map and poses of the mirrored frames: left parts become right ones."""
  last = np.float32(part_map.shape[2] - 1)
  pose = part_pose.reshape(len(part_pose), -1)[:, MIRRORED_POSE]
  pose = pose * (1 - 2 * IS_X)[None] + last * IS_X[None]
  return MIRRORED_MAP[part_map[:, :, ::-1]], pose.reshape(part_pose.shape)


def body_motion(
  part_map: UInt8[np.ndarray, "h w"],
  pose_to: Float32[np.ndarray, "p 6"],
  pose_from: Float32[np.ndarray, "p 6"],
) -> Float32[np.ndarray, "h w 2"]:
  """Computes where the surface seen in one frame is in another.

  Args:
    part_map: of the frame `to`: 0 off the body, 1 + part on it.
    pose_to: the capsules of that frame, `part_pose` of the truth.
    pose_from: the capsules of the frame `from`.

  Returns:
    Displacements (x, y) in pixels: the surface at pixel q of `to` is at q +
    displacement in `from`, where it may be hidden. Zero off the body.
  """
  motion = np.zeros((*part_map.shape, 2), np.float32)
  y, x = np.nonzero(part_map)
  part = part_map[y, x].astype(np.int64) - 1
  to, source = pose_to[part].astype(np.float64), pose_from[part].astype(np.float64)
  points = np.stack([x, y], -1)
  start, direction, length = _axis(to)
  offset = points - start
  # A place along the axis is a fraction of its length. Distances beyond an end (in the
  # caps) and across are in radii, so they keep their size if the part is foreshortened.
  along = (offset * direction).sum(-1)
  inside = np.clip(along, 0.0, length)
  fraction = inside / np.maximum(length, 1e-6)
  radius = to[:, 2] + fraction * (to[:, 5] - to[:, 2])
  beyond = (along - inside) / radius
  across = (offset[:, 0] * -direction[:, 1] + offset[:, 1] * direction[:, 0]) / radius
  start, direction, length = _axis(source)
  radius = source[:, 2] + fraction * (source[:, 5] - source[:, 2])
  normal = np.stack([-direction[:, 1], direction[:, 0]], -1)
  place = start + direction * (fraction * length + beyond * radius)[:, None]
  place = place + normal * (across * radius)[:, None]
  motion[y, x] = place - points
  return motion


def is_visible(
  motion: Float32[np.ndarray, "h w 2"],
  part_map: UInt8[np.ndarray, "h w"],
  part_map_from: UInt8[np.ndarray, "h w"],
) -> Bool[np.ndarray, "h w"]:
  """Returns the pixels whose place in the frame `from` shows the same part.

  Background counts as a part: it is visible if the body does not cover it there.

  Args:
    motion: of every pixel into the frame `from` (`body_motion`).
    part_map: of the frame that the pixels are of.
    part_map_from: of the frame `from`.
  """
  height, width = part_map.shape
  y, x = np.mgrid[:height, :width]
  place = np.round(motion + np.stack([x, y], -1)).astype(int)
  is_inside = (place >= 0).all(-1) & (place < (width, height)).all(-1)
  place = np.clip(place, 0, (width - 1, height - 1))
  return is_inside & (part_map_from[place[..., 1], place[..., 0]] == part_map)


def _axis(pose: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Returns start, direction and length of the axis of each capsule."""
  axis = pose[:, 3:5] - pose[:, 0:2]
  length = np.sqrt((axis**2).sum(-1))
  return pose[:, 0:2], axis / np.maximum(length, 1e-6)[:, None], length
