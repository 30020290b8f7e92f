"""From scores of clips to a row: mean, counts, errors, interval, and words.

Cameras of one sequence share its motion, so the independent sample is the sequence:
`sem_seq` is the error to believe, `sem` the one usually printed.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.stats

from dabfusion_jax.metrics.alignment import Score

MIN_TRACKS = 5  # fewer cannot carry an interval
NUM_RESAMPLES = 2000
_CONFIDENCE = 0.95


def summarise(
  scores: Sequence[Score],
  sequences: Sequence[str],
  tracks: Sequence[str],
  seed: int,
) -> dict[str, Any]:
  """A row of one metric over clips.

  `mean` over defined clips (None if there is none), `n`, `n_undefined` and its
  `reasons`, `flags` (defined values with a reason, e.g. a 0 for want of a beat), `sem`
  = sd / sqrt(n), `sem_seq` the same over the means of sequences (None for one),
  `n_sequences`, and `interval`, the 95 % bootstrap interval over tracks (None
  below 5, or where the track of a clip is not known).
  """
  defined = [i for i, score in enumerate(scores) if score.value is not None]
  values = np.array([scores[i].value for i in defined], np.float64)
  if not np.isfinite(values).all():
    raise ValueError("A score is not finite; undefined ones are None with a reason.")
  reasons = Counter(s.reason for s in scores if s.value is None)
  flags = Counter(s.reason for s in scores if s.value is not None and s.reason)
  by_sequence = _means(values, [sequences[i] for i in defined])
  return {
    "mean": float(values.mean()) if len(values) else None,
    "n": len(values),
    "n_undefined": len(scores) - len(values),
    "reasons": dict(sorted(reasons.items(), key=str)),
    "flags": dict(sorted(flags.items())),
    "sem": _sem(values),
    "sem_seq": _sem(by_sequence),
    "n_sequences": len(by_sequence),
    "interval": _interval(values, [tracks[i] for i in defined], seed),
  }


def difference(
  scores: Sequence[Score], others: Sequence[Score], sequences: Sequence[str]
) -> dict[str, Any] | None:
  """Mean of score minus other over clips that have both, with its error by sequence.

  None if no clip has both.
  """
  pairs = [
    (a.value - b.value, sequence)
    for a, b, sequence in zip(scores, others, sequences, strict=True)
    if a.value is not None and b.value is not None
  ]
  if not pairs:
    return None
  values = np.array([value for value, _ in pairs])
  by_sequence = _means(values, [sequence for _, sequence in pairs])
  return {
    "mean": float(by_sequence.mean()),
    "sem_seq": _sem(by_sequence),
    "n": len(values),
    "n_sequences": len(by_sequence),
  }


def in_words(
  gap: dict[str, Any] | None, other: str, better: str, extra_error: float = 0.0
) -> str:
  """Whether a difference is larger than its noise, as a sentence.

  `better` is "higher", "lower" or "" (neither); `extra_error` is the standard error of
  the other side where it is a random null.
  """
  if gap is None:
    return f"not comparable with {other}"
  if gap["sem_seq"] is None:
    return f"differs from {other} by {gap['mean']:+.3g}; one sequence, noise unknown"
  error = float(np.hypot(gap["sem_seq"], extra_error))
  size = f"{with_error(gap['mean'], error, sign='+')} against {other}"
  over = f"{gap['n_sequences']} sequences"
  # Two sequences tell far less than twenty: Student's t, not 2 standard errors.
  quantile = float(scipy.stats.t.ppf((1 + _CONFIDENCE) / 2, gap["n_sequences"] - 1))
  # Equal to rounding is equal, however small the error.
  if abs(gap["mean"]) <= max(quantile * error, 1e-9):
    return f"{size} over {over}: within its noise"
  kind = "a difference"
  if better:
    is_better = (gap["mean"] > 0) == (better == "higher")
    kind = "better" if is_better else "worse"
  return f"{size} over {over}: {kind}, larger than its noise"


def with_error(mean: float, error: float | None, sign: str = "") -> str:
  """A mean and its standard error, to two digits of the error."""
  if not error:
    return f"{mean:{sign}.4g}"
  digits = min(6, max(0, 1 - math.floor(math.log10(error))))
  return f"{mean:{sign}.{digits}f} +- {error:.{digits}f}"


def _means(values: np.ndarray, groups: Sequence[str]) -> np.ndarray:
  names = sorted(set(groups))
  groups = np.asarray(groups)
  return np.array([values[groups == name].mean() for name in names], np.float64)


def _sem(values: np.ndarray) -> float | None:
  if len(values) < 2:
    return None
  return float(values.std(ddof=1) / np.sqrt(len(values)))


def _interval(values, tracks: Sequence[str], seed: int) -> list[float] | None:
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
