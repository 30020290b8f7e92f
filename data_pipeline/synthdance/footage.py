"""Holds what filming a dance yields."""

import dataclasses

import numpy as np
from jaxtyping import Float32, UInt8

from data_pipeline.records.surfaces import Surfaces


@dataclasses.dataclass(frozen=True)
class Footage:
  """The frames of a dance, and what is known about them as in `truth.Truth`."""

  frames: UInt8[np.ndarray, "t h w 3"]
  joints3d: Float32[np.ndarray, "t 17 3"]
  joints2d: Float32[np.ndarray, "t 17 2"]
  part_map: UInt8[np.ndarray, "t h w"]
  part_pose: Float32[np.ndarray, "t p 6"]
  surfaces: Surfaces | None = None
