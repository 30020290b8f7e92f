"""When and how much generated flows move: no pictures needed.

The measure was chosen on true clips alone, before any model was looked at: of 174 clips
the one that separates aligned from chance best (`docs/results.md`). `PLAIN` is the rule
of 2D-MM Align, every minimum at its frame, for comparison.
"""

from collections.abc import Callable, Sequence

import numpy as np

from dabfusion_jax.evaluation.scoring import baselines
from dabfusion_jax.evaluation.study import subjects as clips
from dabfusion_jax.metrics import alignment, motion

Rule = Callable[[np.ndarray, float], np.ndarray]  # (speed, fps) -> seconds
RULE: Rule = motion.flow_beats
PLAIN: Rule = motion.kinematic_beats
NUM_SHUFFLES = 20


def speeds(flows: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """[n, t, s, s, 2] -> [n, t - 1] pixels per frame; `size` is that of the picture."""
  return np.stack([motion.grid_speed(flow, size) for flow in flows])


def jitters(flows: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """Mean of each clip [n], pixels per frame^2."""
  return np.array([motion.grid_jitter(flow, size).mean() for flow in flows])


def pauses(speed: np.ndarray, fps: float, rule: Rule = RULE) -> list[np.ndarray]:
  """Seconds at which each of [n, t - 1] pauses."""
  return [rule(one, fps) for one in speed]


def align(when: Sequence[np.ndarray], beats: Sequence[np.ndarray]) -> np.ndarray:
  """Beat alignment of each clip [n]; nan where there is no beat to be on."""
  found = [
    alignment.beat_alignment(a, b, alignment.SIGMA_SECONDS).value
    for a, b in zip(when, beats, strict=True)
  ]
  return np.asarray(found, np.float64)


def align_shifted(
  when: Sequence[np.ndarray], beats: Sequence[np.ndarray]
) -> np.ndarray:
  """With the beats moved by half a period."""
  return align(when, [baselines.half_beat_later(one) for one in beats])


def align_shuffled(
  when: Sequence[np.ndarray],
  beats: Sequence[np.ndarray],
  tracks: Sequence[str],
  seed: int,
) -> np.ndarray | None:
  """With the beats of other tracks, the mean of 20 draws; None if there are none."""
  orders = baselines.derangements(tracks, NUM_SHUFFLES, seed)
  if orders is None:
    return None
  return np.mean([align(when, [beats[j] for j in order]) for order in orders], axis=0)


def chance(beats: Sequence[np.ndarray]) -> np.ndarray:
  """Closed form at each clip's own tempo [n]."""
  return np.array([alignment.chance_level(clips.period_seconds(one)) for one in beats])
