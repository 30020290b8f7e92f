"""Measures how much latent flow moves, and whether it rests on the beat.

No frames are needed. Two rules say when a motion beat is: every minimum of speed, as in
2D-MM Align (`beat_alignment`), and deep minima placed between frames
(`beat_alignment_strict`). The second was chosen on real clips alone, before any model
was measured: of 174 clips it separates aligned from chance best (`docs/measures.md`).
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float64, Shaped

from dabfusion_jax.evaluation.scoring import baselines
from dabfusion_jax.metrics import alignment, motion

STRICT, EVERY = "beat_alignment_strict", "beat_alignment"
RULES: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
  STRICT: motion.strict_kinematic_beats,
  EVERY: motion.kinematic_beats,
}
TITLES = {
  STRICT: "strict beat alignment (latent flow)",
  EVERY: "beat alignment (latent flow)",
}
NUM_SHUFFLES = 20

BeatTimes = Sequence[Float64[np.ndarray, "_"]]  # of each clip, seconds


@dataclasses.dataclass(frozen=True)
class LatentMotion:
  """The motion of n clips of latent flow.

  Attributes:
    speeds: mean over the grid for each step, pixels per frame.
    fps: frames per second.
  """

  speeds: Float64[np.ndarray, "n steps"]
  fps: float

  @property
  def speed(self) -> Float64[np.ndarray, "n"]:
    """Mean speed of each clip, pixels per frame."""
    return self.speeds.mean(axis=1)

  def beats(self, rule: str = STRICT) -> list[Float64[np.ndarray, "_"]]:
    """Returns the motion beats of each clip in seconds, by a rule of `RULES`."""
    return [RULES[rule](speed, self.fps) for speed in self.speeds]

  def alignment(
    self, music_beats: BeatTimes, rule: str = STRICT
  ) -> Float64[np.ndarray, "n"]:
    """Returns the beat alignment of each clip; NaN without music beats."""
    scores = [
      alignment.beat_alignment(own, music, alignment.SIGMA_SECONDS).value
      for own, music in zip(self.beats(rule), music_beats, strict=True)
    ]
    return np.asarray(scores, np.float64)

  def alignment_half_beat_later(
    self, music_beats: BeatTimes, rule: str = STRICT
  ) -> Float64[np.ndarray, "n"]:
    """Returns the alignment with music beats moved by half an interval."""
    later = [baselines.half_beat_later(beats) for beats in music_beats]
    return self.alignment(later, rule)

  def alignment_shuffled(
    self,
    music_beats: BeatTimes,
    tracks: Sequence[str],
    seed: int,
    rule: str = STRICT,
  ) -> Float64[np.ndarray, "n"] | None:
    """Returns the mean alignment with beats of other tracks, over 20 draws.

    None if one track holds more than half of the clips.
    """
    orders = baselines.derangements(tracks, NUM_SHUFFLES, seed)
    if orders is None:
      return None
    draws = [self.alignment([music_beats[j] for j in order], rule) for order in orders]
    return np.mean(draws, axis=0)


def motion_of(
  flows: Shaped[np.ndarray, "n t h w 2"], size: tuple[int, int], fps: float
) -> LatentMotion:
  """Returns the motion of sampling grids over pictures of `size` (height, width)."""
  speeds = np.stack([motion.grid_speed(flow, size) for flow in flows])
  return LatentMotion(speeds, fps)


def jitter(
  flows: Shaped[np.ndarray, "n t h w 2"], size: tuple[int, int]
) -> Float64[np.ndarray, "n"]:
  """Returns the mean jitter of each clip, pixels per frame^2."""
  return np.array([motion.grid_jitter(flow, size).mean() for flow in flows])


def chance(music_beats: BeatTimes) -> Float64[np.ndarray, "n"]:
  """Returns the chance level of alignment at each clip's tempo, in closed form."""
  periods = map(baselines.period_seconds, music_beats)
  return np.array([alignment.chance_level(period) for period in periods])
