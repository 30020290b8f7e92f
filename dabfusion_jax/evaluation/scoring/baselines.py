"""Makes the beats of baselines: shuffled, or half an interval late."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int


def derangements(
  tracks: Sequence[str], num_draws: int, seed: int
) -> list[Int[np.ndarray, "n"]] | None:
  """Draws permutations that give every clip the music of another track.

  Returns:
    `num_draws` permutations; None if there are none, because one track holds more than
    half of the clips.
  """
  tracks = np.asarray(tracks)
  _, counts = np.unique(tracks, return_counts=True)
  if len(tracks) < 2 or counts.max() > len(tracks) / 2:
    return None
  rng = np.random.default_rng(seed)
  return [_derangement(tracks, rng) for _ in range(num_draws)]


def _derangement(tracks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  order = rng.permutation(len(tracks))
  while True:
    wrong = np.flatnonzero(tracks[order] == tracks)
    if not len(wrong):
      return order
    # Swaps a clip that has its own track with one such that neither has afterwards.
    # There is one, because no track holds more than half of the clips.
    i = rng.choice(wrong)
    fits = (tracks[order] != tracks[i]) & (tracks != tracks[order[i]])
    j = rng.choice(np.flatnonzero(fits))
    order[i], order[j] = order[j], order[i]


def half_beat_later(beats: Float64[np.ndarray, "n"]) -> Float64[np.ndarray, "m"]:
  """Moves a grid of beats by half an interval.

  Returns n + 1 beats: the middles between neighbours, and one beyond either end. Fewer
  than two beats have no interval and are returned unchanged.
  """
  if len(beats) < 2:
    return beats
  beats = np.sort(beats)
  middle = (beats[1:] + beats[:-1]) / 2
  first = beats[0] - (beats[1] - beats[0]) / 2
  last = beats[-1] + (beats[-1] - beats[-2]) / 2
  return np.concatenate([[first], middle, [last]])


def period_seconds(beats: Float64[np.ndarray, "n"]) -> float:
  """Returns the median interval between beats; NaN for fewer than two."""
  return float(np.median(np.diff(beats))) if len(beats) > 1 else float("nan")
