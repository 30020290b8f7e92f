"""FVD of a group of clips beside what the same number of real clips would score."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dabfusion_jax.evaluation.scoring.aggregate import with_error
from dabfusion_jax.metrics.frechet import frechet_distance

NUM_SPLITS = 10


def not_computed(reason: str, n: int = 0, n_real: int = 0) -> dict[str, Any]:
  """The row of an FVD that there is not, and why."""
  row = {"value": None, "n": n, "n_real": n_real, "reason": reason, "nulls": {}}
  row |= {"real_half": None, "sample_half": None, "gap": None}
  return row | {"words": f"not computed ({reason})"}


def fvd_row(
  samples: np.ndarray,
  real: np.ndarray,
  sequences: Sequence[str],
  real_sequences: Sequence[str],
  nulls: Mapping[str, np.ndarray],
  seed: int,
) -> dict[str, Any]:
  """FVD of `samples` [n1, 400] against `real` [n2, 400].

  Beside it, in `nulls`, what changed real clips score against `real`: those of the
  argument (first frames kept still, or clips after coding), as many as there are
  samples, at most. And, because equal distributions do not score 0 at finite n, two
  values at half of n from 10 random splits of the real sequences: `real_half` (one
  half against the other) and `sample_half` (as many samples against the same other
  half), and their `gap`, each with its SD over splits. A sample of a sequence in that
  other half is left out of its split: it shares its first frame with a real clip there,
  as no real clip of the first half does. Splits are drawn from one set of clips, so
  their SD is the least that the noise can be.

  The value is None, with a `reason`, where a side has fewer than two clips.
  """
  if min(len(samples), len(real)) < 2:
    return not_computed("too_few_clips", len(samples), len(real))
  rng = np.random.default_rng(seed)
  row = {"value": _distance(samples, real), "n": len(samples), "n_real": len(real)}
  row |= {"reason": None, "real_half": None, "sample_half": None, "gap": None}
  row["nulls"] = {
    name: _distance(_pick(rng, changed, min(len(samples), len(changed))), real)
    for name, changed in nulls.items()
    if len(changed) > 1
  }
  row["words"] = "too few real sequences to know what equal sets score"
  splits = _splits(rng, samples, real, sequences, real_sequences)
  if not splits:
    return row
  sizes, theirs, ours = np.array(splits).T
  n = int(np.median(sizes))
  for name, values in (
    ("real_half", theirs),
    ("sample_half", ours),
    ("gap", ours - theirs),
  ):
    row[name] = {"mean": float(values.mean()), "sd": float(values.std(ddof=1)), "n": n}
  gap = row["gap"]
  size = with_error(gap["mean"], gap["sd"], "+")
  is_larger = abs(gap["mean"]) > 2 * max(gap["sd"], 1e-9)
  row["words"] = (
    f"at n {n}: {row['sample_half']['mean']:.4g} against real, real against real"
    f" {row['real_half']['mean']:.4g}; the gap of {size}"
    f" (SD over splits) is {'larger than' if is_larger else 'within'} its noise"
  )
  return row


def _splits(rng, samples, real, sequences, real_sequences):
  """(n, real against real, samples against real) of every split; None if too few."""
  names = sorted(set(real_sequences))
  if len(names) < 4:
    return None
  real_sequences, sequences = np.asarray(real_sequences), np.asarray(sequences)
  found = []
  for _ in range(NUM_SPLITS):
    chosen = rng.permutation(names)[: len(names) // 2]
    is_chosen = np.isin(real_sequences, chosen)
    one, other = real[is_chosen], real[~is_chosen]
    fresh = samples[~np.isin(sequences, real_sequences[~is_chosen])]
    n = min(len(one), len(other), len(fresh))
    if n < 2:
      return None
    other = _pick(rng, other, n)
    found.append(
      (
        n,
        _distance(_pick(rng, one, n), other),
        _distance(_pick(rng, fresh, n), other),
      )
    )
  return found


def _pick(rng: np.random.Generator, x: np.ndarray, n: int) -> np.ndarray:
  """`n` of the rows, at random."""
  return x[rng.permutation(len(x))[:n]]


def _distance(a: np.ndarray, b: np.ndarray) -> float:
  with warnings.catch_warnings():  # said once, by the number of clips in the row
    warnings.filterwarnings("ignore", message=".*rank-deficient")
    return frechet_distance(a, b)
