"""Makes the beats of baselines: shuffled, or half an interval late."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Float64, Int

_MAX_HOPS = 2  # 46 ms, by which codecs and containers may shift a sound
_SAME = 0.8  # correlation of recordings of one piece; of others it is 0.7 at most


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


def first_alike(sounds: Sequence[Float32[np.ndarray, "_"]]) -> list[int]:
  """Returns, per sound, the first one that is a recording of the same music.

  Args:
    sounds: strength of onsets at each hop; coding may shift it by two hops.

  Returns:
    Indices; its own, if none of those before is alike.
  """
  length = min(map(len, sounds), default=0)
  if length <= 2 * _MAX_HOPS:
    return list(range(len(sounds)))
  rows = np.stack([sound[:length] for sound in sounds])
  parts = [rows[:, i : length - 2 * _MAX_HOPS + i] for i in range(2 * _MAX_HOPS + 1)]
  parts = [_standardised(part) for part in parts]
  alike = np.max([parts[_MAX_HOPS] @ part.T for part in parts], axis=0) >= _SAME
  np.fill_diagonal(alike, True)
  return alike.argmax(axis=1).tolist()


def _standardised(rows: Float32[np.ndarray, "n t"]) -> Float32[np.ndarray, "n t"]:
  rows = rows - rows.mean(axis=1, keepdims=True)
  return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


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
