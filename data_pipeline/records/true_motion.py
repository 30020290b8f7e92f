"""Computes the true motion between two frames of a generated clip."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32

from data_pipeline.records.body_parts import body_motion, is_visible, mirror
from data_pipeline.records.surfaces import decode_surfaces


def true_motion(
  clip: Mapping[str, Any], reference: int, driving: int, is_mirrored: bool = False
) -> dict[str, Any]:
  """Computes what is true of two frames of a generated clip.

  The motion is that of the surface of a person's mesh if the clip has `surfaces`, else
  that of the parts of a figure.

  Args:
    clip: with `part_map` and `part_pose`, and for people `surfaces` (`Surfaces`).
    reference, driving: the frames.
    is_mirrored: whether the pair is mirrored.

  Returns:
    `part_pose`, float32 [2 p 6], of both frames, in pixels; and of the driving frame
    `part_map`, uint8 [h w]; `motion`, float32 [h w 2], where the surface in each pixel
    is in the reference, less where it is here, (x, y) in pixels; `is_visible`, bool
    [h w], whether it can be seen there (background: whether the body is not over it).
  """
  frames = [reference, driving]
  part_map, part_pose = clip["part_map"][frames], clip["part_pose"][frames]
  if "surfaces" in clip:
    motion, visible = clip["surfaces"].motion(driving, reference)
    visible = np.where(part_map[1] > 0, visible, part_map[0] == 0)
  else:
    motion = body_motion(part_map[1], part_pose[1], part_pose[0])
    visible = is_visible(motion, part_map[1], part_map[0])
  if is_mirrored:
    part_map, part_pose = mirror(part_map, part_pose)
    motion = motion[:, ::-1] * np.float32([-1, 1])
    visible = visible[:, ::-1]
  return {
    "part_pose": part_pose,
    "part_map": part_map[1],
    "motion": motion,
    "is_visible": visible,
  }


def clip_motion(
  clip: Mapping[str, Any], reference: int
) -> tuple[
  Float32[np.ndarray, "t h w 2"], Bool[np.ndarray, "t h w"], Bool[np.ndarray, "t h w"]
]:
  """Computes motion, body and what the reference shows, of all frames of a clip.

  Args:
    clip: as it is stored, with the truth.
    reference: the frame.
  """
  clip = decode_surfaces(clip)
  truth = [true_motion(clip, reference, t) for t in range(len(clip["part_map"]))]
  motion, part_map, seen = (
    np.stack([frame[key] for frame in truth])
    for key in ("motion", "part_map", "is_visible")
  )
  return motion, part_map > 0, seen
