"""Stores what is known about a generated video.

The truth of a video is a set of arrays in pixels of that video (integers at pixel
centres). `Truth.motion` is the motion between two frames. For people it is that of the
surface of their mesh. For figures it is that of their parts (`records.body_parts`).
"""

import dataclasses

import numpy as np
from etils.epath import PathLike
from jaxtyping import Bool, Float32, Float64, Int64, UInt8

from data_pipeline import files
from data_pipeline.errors import UserError
from data_pipeline.media.framing import Transform, frame_nearest
from data_pipeline.records.surfaces import Surfaces
from data_pipeline.records.true_motion import true_motion

_MESH = "surfaces"


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
    surfaces: the mesh of a person; None for figures.
  """

  fps: float
  beats: Float64[np.ndarray, "n"]
  joints3d: Float32[np.ndarray, "t 17 3"]
  joints2d: Float32[np.ndarray, "t 17 2"]
  part_map: UInt8[np.ndarray, "t h w"]
  part_pose: Float32[np.ndarray, "t p 6"]
  surfaces: Surfaces | None = None

  def save(self, path: PathLike) -> None:
    """Writes an npz, whole or not at all."""
    arrays = {name: getattr(self, name) for name in _names(Truth) if name != _MESH}
    write = np.savez_compressed
    if self.surfaces is not None:
      mesh = self.surfaces
      arrays |= {f"{_MESH}.{name}": getattr(mesh, name) for name in _names(Surfaces)}
      write = np.savez  # coding the mesh would take as long as drawing it
    with files.whole_file(path) as file:
      write(file, **arrays)

  @classmethod
  def load(cls, path: PathLike) -> "Truth":
    """Reads what `save` wrote.

    Raises:
      UserError: there is no such file, or it is not the truth of a generated video.
    """
    try:
      arrays = files.read_npz(path)
      values = {name: arrays[name] for name in _names(cls) if name != _MESH}
      if any(name.startswith(_MESH) for name in arrays):
        mesh = {name: arrays[f"{_MESH}.{name}"] for name in _names(Surfaces)}
        values[_MESH] = Surfaces(**mesh)
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
      surfaces=self.surfaces and self.surfaces.take(frames),
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
      surfaces=self.surfaces and self.surfaces.transformed(transform, size),
    )

  def motion(self, to: int, source: int) -> "Motion":
    """Computes where the surface seen in frame `to` is in frame `source`."""
    clip = {"part_map": self.part_map, "part_pose": self.part_pose}
    if self.surfaces is not None:
      clip[_MESH] = self.surfaces
    found = true_motion(clip, source, to)
    return Motion(found["motion"], found["is_visible"], found["part_map"] > 0)


@dataclasses.dataclass(frozen=True)
class Motion:
  """The motion of all pixels of one frame to another one.

  Attributes:
    flow: displacements (x, y) in pixels: the surface at pixel q is at q + flow in the
      other frame. 0 off the body.
    visible: whether the surface shows there, and is not hidden or outside the frame.
    mask: whether a pixel is on the body.
  """

  flow: Float32[np.ndarray, "h w 2"]
  visible: Bool[np.ndarray, "h w"]
  mask: Bool[np.ndarray, "h w"]


def _names(cls: type) -> list[str]:
  return [field.name for field in dataclasses.fields(cls)]
