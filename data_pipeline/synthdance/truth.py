"""What is known about a generated video, and how its body moves from frame to frame.

The truth of a video is a set of arrays in pixels of that video (integers at pixel
centres). `body_motion` turns two of its poses into a motion field between any two
frames: every body pixel belongs to a capsule, and keeps its place on that capsule.
A part's turning about its own axis does not show in the pose and is left out.
"""

import dataclasses
import os

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from data_pipeline import files
from data_pipeline.errors import UserError
from data_pipeline.media.framing import Transform, frame_nearest

PathLike = str | os.PathLike


@dataclasses.dataclass(frozen=True)
class Truth:
  """Per frame of a video at its own rate and size."""

  fps: float
  beats: Float64[np.ndarray, "n"]  # seconds from the first frame; one beyond each end
  hits: Float64[np.ndarray, "m"]  # when the dancer is in a key pose
  joints3d: Float32[np.ndarray, "t 17 3"]  # COCO-17, cm, y up, the floor at 0
  joints2d: Float32[np.ndarray, "t 17 2"]  # pixels
  planted: Bool[np.ndarray, "t 2"]  # left, right foot: carries weight, does not move
  part_map: UInt8[np.ndarray, "t h w"]  # 0 off the body, 1 + part on it
  part_pose: Float32[np.ndarray, "t p 6"]  # x0, y0, r0, x1, y1, r1 in pixels

  def save(self, path: PathLike) -> None:
    """Writes an npz; it appears whole or not at all."""
    with files.whole_file(path) as file:
      np.savez_compressed(file, **dataclasses.asdict(self))

  @classmethod
  def load(cls, path: PathLike) -> "Truth":
    """Reads what `save` wrote.

    Raises:
      ValueError: no such file, or not the truth of a generated video.
    """
    names = [field.name for field in dataclasses.fields(cls)]
    try:
      with np.load(path, allow_pickle=False) as arrays:
        values = {name: arrays[name] for name in names}
    except (OSError, EOFError, KeyError, ValueError) as error:
      raise UserError(
        f"{path}: not the truth of a generated video ({error}); write the clip again."
      ) from error
    return cls(**values | {"fps": float(values["fps"])})

  def transformed(self, transform: Transform, size: int) -> "Truth":
    """The truth after frames were letterboxed or cropped to `size` x `size`."""
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
  """Where the surface seen in one frame was in another, as displacement.

  Args:
    part_map: of the frame `to`: 0 off the body, 1 + part on it.
    pose_to: the capsules of that frame, `part_pose` of the truth.
    pose_from: the capsules of the other frame.

  Returns:
    (x, y) pixels: the surface at pixel q of `to` was at q + displacement in `from`.
    Zero off the body. The place may be hidden in `from`; that is not told.
  """
  motion = np.zeros((*part_map.shape, 2), np.float32)
  y, x = np.nonzero(part_map)
  part = part_map[y, x].astype(np.int64) - 1
  to, source = pose_to[part].astype(np.float64), pose_from[part].astype(np.float64)
  points = np.stack([x, y], -1)
  start, way, length = _axis(to)
  offset = points - start
  # Along the axis as a share of its length; what lies beyond an end (the caps) and
  # across is measured in radii, so it keeps its size when the part is foreshortened.
  along = (offset * way).sum(-1)
  inside = np.clip(along, 0.0, length)
  share = inside / np.maximum(length, 1e-6)
  radius = to[:, 2] + share * (to[:, 5] - to[:, 2])
  beyond = (along - inside) / radius
  across = (offset[:, 0] * -way[:, 1] + offset[:, 1] * way[:, 0]) / radius
  start, way_from, length = _axis(source)
  radius = source[:, 2] + share * (source[:, 5] - source[:, 2])
  normal = np.stack([-way_from[:, 1], way_from[:, 0]], -1)
  place = start + way_from * (share * length + beyond * radius)[:, None]
  place = place + normal * (across * radius)[:, None]
  motion[y, x] = place - points
  return motion


def _axis(pose: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Start, direction and length of each capsule's axis."""
  way = pose[:, 3:5] - pose[:, 0:2]
  length = np.sqrt((way**2).sum(-1))
  return pose[:, 0:2], way / np.maximum(length, 1e-6)[:, None], length
