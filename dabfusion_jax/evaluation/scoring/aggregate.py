"""Turns scores of clips into means, standard errors, intervals and sentences.

The cameras of one sequence film the same motion, so the independent sample is the
sequence: standard errors are taken over the means of sequences.
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.stats
from jaxtyping import Float64
from numpy.typing import ArrayLike

from dabfusion_jax.metrics.alignment import Score

MIN_TRACKS = 5  # fewer cannot carry an interval
NUM_RESAMPLES = 2000
_CONFIDENCE = 0.95
_ROUNDING = 1e-9  # differences below are none


@dataclasses.dataclass(frozen=True)
class Estimate:
  """A mean over sequences with its standard error; None for a single sequence."""

  mean: float
  error: float | None
  n: int  # clips
  n_sequences: int

  def __str__(self) -> str:
    return with_error(self.mean, self.error)


def estimate(values: ArrayLike, sequences: Sequence[str]) -> Estimate:
  """Returns the mean over sequences of one value per clip.

  Args:
    values: undefined ones (None, NaN) are left out.
    sequences: of each clip.

  Raises:
    ValueError: no clip has a value.
  """
  values = np.asarray(values, np.float64)
  defined = np.isfinite(values)
  if not defined.any():
    raise ValueError("No clip has a value.")
  means = sequence_means(values[defined], _chosen(sequences, defined))
  return Estimate(
    float(means.mean()), standard_error(means), int(defined.sum()), len(means)
  )


def ratio(
  numerator: ArrayLike, denominator: ArrayLike, sequences: Sequence[str]
) -> Estimate:
  """Returns the ratio of two means over the same clips, and its standard error.

  The error is that of a ratio of means, to first order.
  """
  numerator = np.asarray(numerator, np.float64)
  denominator = np.asarray(denominator, np.float64)
  defined = np.isfinite(numerator) & np.isfinite(denominator)
  groups = _chosen(sequences, defined)
  top, bottom = (sequence_means(x[defined], groups) for x in (numerator, denominator))
  value = float(top.mean() / bottom.mean())
  error = standard_error((top - value * bottom) / bottom.mean())
  return Estimate(value, error, int(defined.sum()), len(top))


def fraction_of_gap(
  values: ArrayLike, chance: ArrayLike, real: ArrayLike, sequences: Sequence[str]
) -> Estimate:
  """Returns where the values lie between chance (0) and real clips (1)."""
  values, chance, real = (np.asarray(x, np.float64) for x in (values, chance, real))
  return ratio(values - chance, real - chance, sequences)


def difference(
  scores: Sequence[Score], others: Sequence[Score], sequences: Sequence[str]
) -> Estimate | None:
  """Returns the mean of score minus other score; None if no clip has both."""
  pairs = zip(scores, others, strict=True)
  gaps = [
    np.nan if a.value is None or b.value is None else a.value - b.value
    for a, b in pairs
  ]
  return estimate(gaps, sequences) if np.isfinite(gaps).any() else None


def summarise(
  scores: Sequence[Score],
  sequences: Sequence[str],
  tracks: Sequence[str],
  seed: int,
) -> dict[str, Any]:
  """Summarises one metric over clips, as plain values.

  Args:
    scores: of each clip.
    sequences: of each clip.
    tracks: music of each clip; "" if it is not known.
    seed: of the bootstrap.

  Returns:
    `mean` over sequences (None if no clip is defined), `n`, `n_undefined` and its
    `reasons`, `flags` (reasons given with defined values, such as a 0 because there is
    no beat), `sem` (standard deviation / sqrt(n)), `sem_seq` (the same over the means
    of sequences), `n_sequences`, and `interval`, the 95 % bootstrap interval over
    tracks (None below 5 tracks, or if the track of a clip is not known).

  Raises:
    ValueError: a score is NaN or infinite.
  """
  defined = [i for i, score in enumerate(scores) if score.value is not None]
  values = np.array([scores[i].value for i in defined], np.float64)
  if not np.isfinite(values).all():
    raise ValueError("A score is not finite; undefined ones are None with a reason.")
  reasons = Counter(s.reason for s in scores if s.value is None)
  flags = Counter(s.reason for s in scores if s.value is not None and s.reason)
  by_sequence = sequence_means(values, [sequences[i] for i in defined])
  # A sequence has one track; clips of unknown ones sort first, and tell.
  track_of = dict(sorted(((sequences[i], tracks[i]) for i in defined), reverse=True))
  sequence_tracks = [track_of[name] for name in sorted(track_of)]
  return {
    "mean": float(by_sequence.mean()) if len(values) else None,
    "n": len(values),
    "n_undefined": len(scores) - len(values),
    "reasons": dict(sorted(reasons.items(), key=str)),
    "flags": dict(sorted(flags.items())),
    "sem": standard_error(values),
    "sem_seq": standard_error(by_sequence),
    "n_sequences": len(by_sequence),
    "interval": _interval(by_sequence, sequence_tracks, seed),
  }


def in_words(
  gap: Estimate | None, other: str, better: str, extra_error: float = 0.0
) -> str:
  """Says in a sentence whether a difference is larger than its noise.

  Args:
    gap: score minus other score.
    other: name of the other side.
    better: "higher", "lower" or "" (neither).
    extra_error: standard error of the other side if it is a random null.
  """
  if gap is None:
    return f"not comparable with {other}"
  if gap.error is None:
    return f"differs from {other} by {gap.mean:+.3g}; one sequence, noise unknown"
  error = float(np.hypot(gap.error, extra_error))
  size = f"{with_error(gap.mean, error, sign='+')} against {other}"
  over = f"{gap.n_sequences} sequences"
  # Student's t: two sequences say far less than twenty.
  quantile = float(scipy.stats.t.ppf((1 + _CONFIDENCE) / 2, gap.n_sequences - 1))
  if abs(gap.mean) <= max(quantile * error, _ROUNDING):
    return f"{size} over {over}: within its noise"
  kind = "a difference"
  if better:
    is_better = (gap.mean > 0) == (better == "higher")
    kind = "better" if is_better else "worse"
  return f"{size} over {over}: {kind}, larger than its noise"


def with_error(mean: float, error: float | None, sign: str = "") -> str:
  """Returns a mean and its standard error as text, to two digits of the error."""
  if not error:
    return f"{mean:{sign}.4g}"
  digits = min(6, max(0, 1 - math.floor(math.log10(error))))
  return f"{mean:{sign}.{digits}f} +- {error:.{digits}f}"


def sequence_means(
  values: ArrayLike, sequences: Sequence[str]
) -> Float64[np.ndarray, "n"]:
  """Returns the mean over the clips of each sequence, in the order of their names."""
  values, sequences = np.asarray(values, np.float64), np.asarray(sequences)
  names = sorted(set(sequences.tolist()))
  return np.array([values[sequences == name].mean() for name in names], np.float64)


def standard_error(values: Float64[np.ndarray, "n"]) -> float | None:
  """Returns the standard error of the mean; None for fewer than two values."""
  if len(values) < 2:
    return None
  return float(values.std(ddof=1) / np.sqrt(len(values)))


def _chosen(names: Sequence[str], is_chosen: np.ndarray) -> list[str]:
  return [name for name, chosen in zip(names, is_chosen, strict=True) if chosen]


def _interval(
  values: np.ndarray, tracks: Sequence[str], seed: int
) -> list[float] | None:
  names = sorted(set(tracks))
  if len(names) < MIN_TRACKS or "" in names:
    return None
  tracks = np.asarray(tracks)
  sums = np.array([values[tracks == name].sum() for name in names])
  counts = np.array([(tracks == name).sum() for name in names])
  rng = np.random.default_rng(seed)
  drawn = rng.integers(0, len(names), (NUM_RESAMPLES, len(names)))
  means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
  return [float(x) for x in np.percentile(means, [2.5, 97.5])]
