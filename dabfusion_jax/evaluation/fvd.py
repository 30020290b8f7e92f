"""FVD of a group of clips beside what the same number of real clips would score."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from dabfusion_jax.metrics.frechet import frechet_distance

NUM_SPLITS = 10


def fvd_row(
  samples: np.ndarray,
  real: np.ndarray,
  frozen: np.ndarray,
  real_sequences: Sequence[str],
  seed: int,
  reason: str | None = None,
) -> dict[str, Any]:
  """FVD of `samples` [n1, 400] against `real` [n2, 400].

  Beside it: `frozen`, the FVD of the real clips' first frames kept still; and, because
  equal distributions do not score 0 at finite n, two values at half of n from 10 random
  splits of the real sequences: `real_half` (a half against the other half) and
  `sample_half` (as many samples against that other half), with their SD over splits.
  Values are None with a `reason` where a side has fewer than two clips.
  """
  row = {"value": None, "n": len(samples), "n_real": len(real), "reason": reason}
  row |= {"frozen": None, "real_half": None, "sample_half": None, "words": ""}
  if reason is None and min(len(samples), len(real)) < 2:
    row["reason"] = "too_few_clips"
  if row["reason"]:
    row["words"] = f"not computed ({row['reason']})"
    return row
  row["value"] = _distance(samples, real)
  if len(frozen) > 1:
    row["frozen"] = _distance(frozen, real)
  halves = _halves(samples, real, real_sequences, seed)
  if halves is None:
    row["words"] = "too few real sequences to know what equal sets score"
    return row
  row["real_half"], row["sample_half"] = halves
  a, b = row["sample_half"], row["real_half"]
  noise = max(float(np.hypot(a["sd"], b["sd"])), 1e-9)
  gap = a["mean"] - b["mean"]
  row["words"] = (
    f"at n {b['n']}: {a['mean']:.4g} against real, real against real {b['mean']:.4g}"
    f" +- {b['sd']:.2g}: "
    + ("larger than its noise" if abs(gap) > 2 * noise else "within its noise")
  )
  return row


def _halves(samples, real, sequences, seed):
  names = sorted(set(sequences))
  if len(names) < 4:
    return None
  rng = np.random.default_rng(seed)
  sequences = np.asarray(sequences)
  ours, theirs, sizes = [], [], []
  for _ in range(NUM_SPLITS):
    chosen = rng.permutation(names)[: len(names) // 2]
    in_half = np.isin(sequences, chosen)
    one, other = real[in_half], real[~in_half]
    n = min(len(one), len(other), len(samples))
    if n < 2:
      return None
    pick = lambda x, n=n: x[rng.permutation(len(x))[:n]]
    one, other = pick(one), pick(other)
    theirs.append(_distance(one, other))
    ours.append(_distance(pick(samples), other))
    sizes.append(n)
  return [
    {
      "mean": float(np.mean(x)),
      "sd": float(np.std(x, ddof=1)),
      "n": int(np.median(sizes)),
    }
    for x in (theirs, ours)
  ]


def _distance(a: np.ndarray, b: np.ndarray) -> float:
  with warnings.catch_warnings():  # said once, by the number of clips in the row
    warnings.filterwarnings("ignore", message=".*rank-deficient")
    return frechet_distance(a, b)
