"""Stores what is known about a generated video.

The truth of a video is a set of arrays in pixels of that video (integers at pixel
centres). What follows from it for two frames is in `records.body_parts`.
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
