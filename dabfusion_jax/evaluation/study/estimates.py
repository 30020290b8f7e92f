"""Means over clips with their errors, and rows of the table of claims."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike


@dataclasses.dataclass(frozen=True)
class Estimate:
  """A mean over sequences; `error` is its standard error, None for one sequence."""

  value: float
  error: float | None
  n: int  # clips
  n_sequences: int

  def __str__(self) -> str:
    digits = ".2f" if abs(self.value) >= 10 else ".3f"
    text = format(self.value, digits)
    return text if self.error is None else f"{text} ± {self.error:{digits}}"


@dataclasses.dataclass(frozen=True)
class Row:
  """A line of the table: what was asked, what came out, and what to hold it against."""

  what: str
  found: Estimate
  true: Estimate | None = None  # the same of true clips
  null: Estimate | None = None
  null_is: str = ""
  asked: str = ""
  met: bool | None = None


def by_sequence(values: ArrayLike, sequences: Sequence[str]) -> np.ndarray:
  """Means over the clips of each sequence, float64, in the order of their names."""
  values, sequences = np.asarray(values, np.float64), np.asarray(sequences)
  return np.array([values[sequences == s].mean() for s in sorted(set(sequences))])


def mean(values: ArrayLike, sequences: Sequence[str]) -> Estimate:
  """Mean over sequences; undefined clips (None, nan) are left out.

  Raises:
    ValueError: no clip has a value.
  """
  values = np.asarray(values, np.float64)
  known = np.isfinite(values)
  if not known.any():
    raise ValueError("No clip has a value.")
  kept = [s for s, k in zip(sequences, known, strict=True) if k]
  means = by_sequence(values[known], kept)
  return Estimate(float(means.mean()), _error(means), int(known.sum()), len(means))


def ratio(
  numerator: np.ndarray, denominator: np.ndarray, sequences: Sequence[str]
) -> Estimate:
  """Ratio of two means over the same clips, with the error of a ratio of means."""
  known = np.isfinite(numerator) & np.isfinite(denominator)
  kept = [s for s, k in zip(sequences, known, strict=True) if k]
  top, bottom = (by_sequence(x[known], kept) for x in (numerator, denominator))
  value = float(top.mean() / bottom.mean())
  error = _error((top - value * bottom) / bottom.mean())
  return Estimate(value, error, int(known.sum()), len(top))


def way(
  values: np.ndarray, chance: np.ndarray, true: np.ndarray, sequences: Sequence[str]
) -> Estimate:
  """Share of the way from chance (0) to the true clips (1)."""
  return ratio(
    np.asarray(values) - chance, np.asarray(true, np.float64) - chance, sequences
  )


def _error(means: np.ndarray) -> float | None:
  if len(means) < 2:
    return None
  return float(means.std(ddof=1) / np.sqrt(len(means)))
