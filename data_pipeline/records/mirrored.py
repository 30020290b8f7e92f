"""Shows clips as a mirror does, so that each dance teaches two."""

from collections.abc import Sequence
from typing import SupportsIndex

import numpy as np

from data_pipeline.records import body_parts
from data_pipeline.records.clip_record import Record
from data_pipeline.records.surfaces import Surfaces

SUFFIX = ".mirrored"  # of the names of mirrored clips


class WithMirrored(Sequence[Record]):
  """All clips of a source, and then all of them in a mirror."""

  def __init__(self, clips: Sequence[Record]) -> None:
    self._clips = clips

  def __len__(self) -> int:
    return 2 * len(self._clips)

  def __getitem__(self, index: SupportsIndex) -> Record:
    number, place = divmod(range(len(self))[index], len(self._clips))
    return mirror(self._clips[place]) if number else self._clips[place]


def mirror(clip: Record) -> Record:
  """Returns a decoded clip in a mirror; its name tells so.

  Frames, parts and surfaces are mirrored, and left parts become right ones; music and
  beats stay as they are.
  """
  seen = dict(clip) | {
    "name": f"{clip['name']}{SUFFIX}",
    "frames": np.ascontiguousarray(clip["frames"][:, :, ::-1]),
  }
  if "part_map" in clip:
    parts = body_parts.mirror(clip["part_map"], clip["part_pose"])
    seen["part_map"], seen["part_pose"] = parts
  if "surfaces" in clip:
    surfaces = Surfaces.decode(clip["surfaces"])
    seen["surfaces"] = surfaces.mirrored().encode()
  return seen
