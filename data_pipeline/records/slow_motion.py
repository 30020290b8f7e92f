"""Cached clips at other speeds, for what no song of a training set teaches.

Songs for dancing lie between 80 and 130 beats a minute, and none is silent. A model
that saw nothing else dances twice a beat to slow beats, and on without any music. So
some clips are shown slower, their beats with them; and some nearly at rest, with the
embedding of silence and no beats. A departure from the paper, off in its setting.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

SLOWEST = 0.4  # of the film's speed, with its beats
AT_REST = (0.05, 0.2)  # of the film's speed, in silence


@dataclasses.dataclass(frozen=True)
class SlowMotion:
  """Which share of the clips is shown otherwise than filmed.

  Attributes:
    slow: share shown at `SLOWEST` to full speed, with beats as slow.
    silent: share shown at a speed of `AT_REST`, in silence.
    silence: embedding of silence by the encoder of the data set.
  """

  slow: float
  silent: float
  silence: Float[np.ndarray, "d"]

  def __call__(
    self, record: Mapping[str, np.ndarray], rng: np.random.Generator
  ) -> Mapping[str, np.ndarray]:
    """Draws what becomes of a record (`data_pipeline.records.latent_record`)."""
    chance = rng.random()
    if chance < self.slow:
      return slow_down(record, rng.uniform(SLOWEST, 1.0))
    if chance < self.slow + self.silent:
      record = dict(slow_down(record, rng.uniform(*AT_REST)))
      record["music"] = self.silence
      for key in _beats_of(record):
        record[key] = np.zeros(0)
      return record
    return record


def slow_down(
  record: Mapping[str, np.ndarray], speed: float
) -> Mapping[str, np.ndarray]:
  """The first part of a clip, stretched to its whole length.

  Flow and occlusion are stretched; frame 0, the still, stays. Beats come later by as
  much.

  Args:
    record: with `flow` [t, h, w, 2], `occlusion` [t, h, w, 1] and beats in seconds.
    speed: in (0, 1].
  """
  slowed = dict(record)
  for key in ("flow", "occlusion"):
    slowed[key] = stretch(record[key], speed)
  for key in _beats_of(record):
    slowed[key] = record[key] / speed
  return slowed


def stretch(
  frames: Float[np.ndarray, "t h w c"], speed: float
) -> Float[np.ndarray, "t h w c"]:
  """Frame i is that of i * speed, between two by linear interpolation."""
  position = np.arange(len(frames)) * speed
  before = np.minimum(position.astype(int), len(frames) - 2)
  weight = (position - before).astype(np.float32)[:, None, None, None]
  return (1 - weight) * frames[before] + weight * frames[before + 1]


def _beats_of(record: Mapping[str, np.ndarray]) -> list[str]:
  return [key for key in record if key.endswith("_beats")]
