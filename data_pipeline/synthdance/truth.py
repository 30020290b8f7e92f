"""Stores what is known about a generated video, and computes how its body moves.

The truth of a video is a set of arrays in pixels of that video (integers at pixel
centres). `body_motion` turns the poses of two frames into a motion field between them:
every body pixel belongs to a capsule, and keeps its place on that capsule. The rotation
of a part about its own axis is not part of the pose, and is left out.
"""

import dataclasses

import numpy as np
from etils.epath import PathLike
from jaxtyping import Float32, Float64, Int64, UInt8

from data_pipeline import files
from data_pipeline.errors import UserError
from data_pipeline.media.framing import Transform, frame_nearest


@dataclasses.dataclass(frozen=True)
class Truth:
  """What is known about every frame of a video, at its own rate and size.

  Attributes:
    fps: frames per second.
    beats: seconds from the first frame, with one beat beyond each end.
    joints3d: 17 joints in COCO order, in cm, y up, with the floor at 0.
    joints2d: the same joints in pixels.
    part_map: 0 off the body, 1 + part on it.
    part_pose: x0, y0, r0, x1, y1, r1 of the capsule of each part, in pixels.
  """

  fps: float
  beats: Float64[np.ndarray, "n"]
  joints3d: Float32[np.ndarray, "t 17 3"]
  joints2d: Float32[np.ndarray, "t 17 2"]
  part_map: UInt8[np.ndarray, "t h w"]
  part_pose: Float32[np.ndarray, "t p 6"]

  def save(self, path: PathLike) -> None:
    """Writes an npz, whole or not at all."""
    with files.whole_file(path) as file:
      np.savez_compressed(file, **dataclasses.asdict(self))

  @classmethod
  def load(cls, path: PathLike) -> "Truth":
    """Reads what `save` wrote.

    Raises:
      UserError: there is no such file, or it is not the truth of a generated video.
    """
    names = [field.name for field in dataclasses.fields(cls)]
    try:
      with np.load(path, allow_pickle=False) as arrays:
        values = {name: arrays[name] for name in names}
    except (OSError, EOFError, KeyError, ValueError) as error:
      raise UserError(
        f"{path}: not the truth of a generated video ({error}); write it again."
      ) from error
    return cls(**values | {"fps": float(values["fps"])})

  def take(self, frames: Int64[np.ndarray, "n"]) -> "Truth":
    """Returns the truth of some frames; the beats stay as they are."""
    return dataclasses.replace(
      self,
      joints3d=self.joints3d[frames],
      joints2d=self.joints2d[frames],
      part_map=self.part_map[frames],
      part_pose=self.part_pose[frames],
    )

  def transformed(self, transform: Transform, size: int) -> "Truth":
    """Returns the truth of frames that were brought to `size` x `size` pixels."""
    pose = self.part_pose.reshape(*self.part_pose.shape[:-1], 2, 3)
    scale = np.float32(np.sqrt(transform.scale[0] * transform.scale[1]))
    pose = np.concatenate([transform(pose[..., :2]), pose[..., 2:] * scale], -1)
    return dataclasses.replace(
      self,
      joints2d=transform(self.joints2d),
      part_map=frame_nearest(self.part_map, size, transform),
      part_pose=pose.reshape(self.part_pose.shape),
    )


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


def _axis(pose: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Returns start, direction and length of the axis of each capsule."""
  axis = pose[:, 3:5] - pose[:, 0:2]
  length = np.sqrt((axis**2).sum(-1))
  return pose[:, 0:2], axis / np.maximum(length, 1e-6)[:, None], length
