"""The batch that dances are drawn from."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Array, Float32

from dabfusion_jax.inference.song import Condition
from data_pipeline.music import beats
from data_pipeline.records import clip_record


def make_batch(
  z: Float32[Array, "b s s c"],
  conditions: Sequence[Condition],
  num_frames: int,
  fps: float,
  begins: bool = True,
) -> dict[str, Any]:
  """Returns a batch for `BatchSampler`.

  Args:
    z: pictures, by their latents.
    conditions: what is danced to.
    num_frames: of each dance.
    fps: frames per second.
    begins: whether the first frame is the picture; not so in later windows of a dance.
  """
  grids = [(c.beat_times, 0.0, num_frames, fps) for c in conditions]
  return {
    "z": z,
    "begins": np.full(len(conditions), begins),
    "music": np.stack([c.embedding for c in conditions]),
    "beats": np.stack([beats.beat_vector(*grid) for grid in grids]),
    "beat_features": np.stack([beats.beat_features(*grid) for grid in grids]),
  }


def condition_of(record: Mapping[str, Any], kind: str) -> Condition:
  """Returns the condition of a clip of a data set.

  Args:
    record: of `data_pipeline.records.loader`.
    kind: which of its beats, a key of `clip_record.BEATS`.
  """
  return Condition(record["music"], record[clip_record.BEATS[kind]])
