"""Computes FVD of a group of clips, and what as many real clips would score."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from dabfusion_jax.evaluation.scoring.aggregate import with_error
from dabfusion_jax.metrics.frechet import frechet_distance

NUM_SPLITS = 10
_MIN_SEQUENCES = 4  # to split the real ones

Logits = Float[np.ndarray, "_ d"]  # of I3D, or any other features


def not_computed(reason: str, n: int = 0, n_real: int = 0) -> dict[str, Any]:
  """Returns the row of an FVD that has no value, with its reason."""
  row = {"value": None, "n": n, "n_real": n_real, "reason": reason, "nulls": {}}
  row |= {"real_half": None, "sample_half": None, "gap": None}
  return row | {"words": f"not computed ({reason})"}


def fvd_row(
  samples: Logits,
  real: Logits,
  sequences: Sequence[str],
  real_sequences: Sequence[str],
  nulls: Mapping[str, Logits],
  seed: int,
) -> dict[str, Any]:
  """Returns FVD with its baselines, as plain values.

  Equal distributions do not score 0 with few clips. Two values at half of n show what
  they do score, each the mean and SD over 10 random splits of the real sequences:
  `real_half` compares one half of the real clips with the other, and `sample_half` as
  many samples with the same other half; `gap` is their difference. In each split,
  samples of the sequences in the other half are left out, because they share their
  first frame with a real clip there, and no real clip of the first half does. All
  splits are of the same clips, so their SD is a lower bound of the noise.

  Args:
    samples: I3D logits of generated clips.
    real: I3D logits of real clips.
    sequences: of the samples.
    real_sequences: of the real clips.
    nulls: I3D logits of changed real clips by name, such as frozen or coded ones. Each
      is compared with `real`, with at most as many clips as there are samples.
    seed: of the splits.

  Returns:
    `value` (None with a `reason` if a side has fewer than two clips), `n`, `n_real`,
    `nulls`, `real_half`, `sample_half`, `gap`, and a sentence, `words`.
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
  sizes, real_half, sample_half = np.array(splits).T
  n = int(np.median(sizes))
  halves = {"real_half": real_half, "sample_half": sample_half}
  halves["gap"] = sample_half - real_half
  for name, values in halves.items():
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


def _splits(
  rng: np.random.Generator,
  samples: Logits,
  real: Logits,
  sequences: Sequence[str],
  real_sequences: Sequence[str],
) -> list[tuple[int, float, float]]:
  """Returns (n, real against real, samples against real) per split; [] if too few."""
  names = sorted(set(real_sequences))
  if len(names) < _MIN_SEQUENCES:
    return []
  real_sequences, sequences = np.asarray(real_sequences), np.asarray(sequences)
  splits = []
  for _ in range(NUM_SPLITS):
    chosen = rng.permutation(names)[: len(names) // 2]
    is_chosen = np.isin(real_sequences, chosen)
    first, second = real[is_chosen], real[~is_chosen]
    unpaired = samples[~np.isin(sequences, real_sequences[~is_chosen])]
    n = min(len(first), len(second), len(unpaired))
    if n < 2:
      return []
    second = _pick(rng, second, n)
    of_real = _distance(_pick(rng, first, n), second)
    splits.append((n, of_real, _distance(_pick(rng, unpaired, n), second)))
  return splits


def _pick(rng: np.random.Generator, x: Logits, n: int) -> Logits:
  return x[rng.permutation(len(x))[:n]]


def _distance(a: Logits, b: Logits) -> float:
  with warnings.catch_warnings():  # the number of clips in the row says it already
    warnings.filterwarnings("ignore", message=".*rank-deficient")
    return frechet_distance(a, b)
