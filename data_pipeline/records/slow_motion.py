"""Slows cached clips down, to teach what no song of a training set teaches.

Songs for dancing have 80 to 130 beats per minute, and none is silent. A model trained
on nothing else dances twice per beat to slow beats, and keeps dancing without music. So
some clips are slowed down together with their beats, and some are brought nearly to
rest, with the embedding of silence and no beats. This departs from the paper, and is
off in the `paper` configs.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

SLOWEST = 0.4  # of the original speed, with beats
AT_REST = (0.05, 0.2)  # of the original speed, in silence
MOVING = frozenset({"flow", "occlusion", "joints"})  # what is slowed down


@dataclasses.dataclass(frozen=True)
class SlowMotion:
  """Changes the speed of a random fraction of the clips.

  Attributes:
    slow: fraction played at `SLOWEST` to full speed, with their beats.
    silent: fraction played at a speed in `AT_REST`, in silence.
    silence: embedding of silence by the encoder of the data set.
  """

  slow: float
  silent: float
  silence: Float[np.ndarray, "d"]

  def __call__(
    self, record: Mapping[str, np.ndarray], rng: np.random.Generator
  ) -> Mapping[str, np.ndarray]:
    """Returns a record (`latent_record`) slowed down, silenced or unchanged."""
    speed, is_silent = self.draw(rng)
    if speed == 1:
      return record
    slowed = dict(slow_down(record, speed))
    if is_silent:
      slowed |= {"music": self.silence} | dict.fromkeys(_beat_keys(record), np.zeros(0))
    return slowed

  def draw(self, rng: np.random.Generator) -> tuple[float, bool]:
    """Returns the speed of a clip, and whether it is silent."""
    chance = rng.random()
    if chance < self.slow:
      return rng.uniform(SLOWEST, 1.0), False
    if chance < self.slow + self.silent:
      return rng.uniform(*AT_REST), True
    return 1.0, False


def slow_down(
  record: Mapping[str, np.ndarray], speed: float
) -> Mapping[str, np.ndarray]:
  """Stretches the first part of a clip to its whole length.

  Flow, occlusion, joints and beats are stretched; frame 0 keeps its place.

  Args:
    record: with `flow` [t, h, w, 2], `occlusion` [t, h, w, 1], perhaps `joints` [t, j,
      2], and beats in seconds.
    speed: in (0, 1].
  """
  slowed = dict(record)
  for key in MOVING & set(record):
    slowed[key] = stretch(record[key], speed)
  for key in _beat_keys(record):
    slowed[key] = record[key] / speed
  return slowed


def stretch(
  frames: Float[np.ndarray, "t *s c"], speed: float
) -> Float[np.ndarray, "t *s c"]:
  """Returns frames i * `speed` for each i, interpolated linearly."""
  position = np.arange(len(frames)) * speed
  before = np.minimum(position.astype(int), len(frames) - 2)
  weight = (position - before).astype(np.float32)
  weight = weight.reshape(-1, *[1] * (frames.ndim - 1))
  return (1 - weight) * frames[before] + weight * frames[before + 1]


def _beat_keys(record: Mapping[str, np.ndarray]) -> list[str]:
  return [key for key in record if key.endswith("_beats")]
