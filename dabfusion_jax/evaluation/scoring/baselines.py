"""What a score would be if the model had learnt nothing."""

from collections.abc import Sequence

import numpy as np


def derangements(
  tracks: Sequence[str], num_draws: int, seed: int
) -> list[np.ndarray] | None:
  """Permutations that give every clip the music of another track.

  None where there is none: one track holds more than half of the clips.
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
    # A clip in conflict changes places with one that ends all conflict between them:
    # such a one exists, or no derangement does.
    i = rng.choice(wrong)
    fits = (tracks[order] != tracks[i]) & (tracks != tracks[order[i]])
    j = rng.choice(np.flatnonzero(fits))
    order[i], order[j] = order[j], order[i]


def half_beat_later(beats: np.ndarray) -> np.ndarray:
  """Every beat moved to the middle of its beat; the grid goes on at its ends.

  Fewer than two beats have no period: they are returned as they are.
  """
  if len(beats) < 2:
    return beats
  beats = np.sort(beats)
  middle = (beats[1:] + beats[:-1]) / 2
  first = beats[0] - (beats[1] - beats[0]) / 2
  last = beats[-1] + (beats[-1] - beats[-2]) / 2
  return np.concatenate([[first], middle, [last]])


def period_seconds(bpm: int | None, beats: np.ndarray) -> float | None:
  """Of the music: from the track's tempo, else the median interval of its beats."""
  if bpm:
    return 60 / bpm
  return float(np.median(np.diff(beats))) if len(beats) > 1 else None
