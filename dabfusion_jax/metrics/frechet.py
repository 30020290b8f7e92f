"""Frechet distance of two sets of features, FVD if they are I3D logits.

  d^2 = |mu1 - mu2|^2 + Tr(S1 + S2 - 2 (S1 S2)^(1/2)),  covariances with 1 / (n - 1)

With the centred features A, B [n d], Tr (S1 S2)^(1/2) is the nuclear norm of A B^T over
sqrt((n1 - 1)(n2 - 1)), which needs no matrix root and is exact for rank-deficient sets.
Computed in float64 on the host.
Heusel et al. 2017 (1706.08500); Unterthiner et al. 2018 (1812.01717).
"""

import warnings

import numpy as np
from jaxtyping import Float, Float64

_ROUNDING = 1e-6  # relative; a distance this far below zero is zero


def frechet_distance(
  a: Float[np.ndarray, "n1 d"], b: Float[np.ndarray, "n2 d"]
) -> float:
  """Returns the squared Frechet distance of Gaussians fitted to two sets of rows.

  Warns if a set has no more rows than columns: its covariance is then rank-deficient
  and the distance of equal distributions is far from 0, so that values can be compared
  only for equal n and beside the distance of two real sets. Inputs are not modified.

  Raises:
    ValueError: a set has fewer than two rows (it has no covariance, and the distance of
      means must not be called a Frechet distance), or a feature is not finite.
  """
  for name, x in (("first", a), ("second", b)):
    if len(x) < 2:
      raise ValueError(f"The {name} set has {len(x)} samples; at least 2 are needed.")
    if not np.isfinite(x).all():
      raise ValueError(f"The {name} set has features that are not finite.")
  n = min(len(a), len(b))
  if n <= a.shape[1]:
    warnings.warn(
      f"{n} samples for {a.shape[1]} features: the covariance is rank-deficient.",
      stacklevel=2,
    )
  mean_a, centred_a = _centre(a)
  mean_b, centred_b = _centre(b)
  scale_a, scale_b = len(a) - 1, len(b) - 1
  trace_a = np.sum(centred_a**2) / scale_a
  trace_b = np.sum(centred_b**2) / scale_b
  cross = np.linalg.norm(_shrink(centred_a) @ _shrink(centred_b).T, "nuc")
  trace_root = cross / np.sqrt(scale_a * scale_b)
  distance = np.sum((mean_a - mean_b) ** 2) + trace_a + trace_b - 2 * trace_root
  # Rounding grows with the traces that cancel.
  if -_ROUNDING * max(1.0, trace_a + trace_b) < distance < 0:
    return 0.0
  return float(distance)


def _centre(
  x: Float[np.ndarray, "n d"],
) -> tuple[Float64[np.ndarray, "d"], Float64[np.ndarray, "n d"]]:
  """Returns the mean row and the rows minus it."""
  x = np.asarray(x, np.float64)
  mean = x.mean(axis=0)
  return mean, x - mean


def _shrink(x: Float64[np.ndarray, "n d"]) -> Float64[np.ndarray, "m d"]:
  """Returns min(n, d) rows with the same x^T x, hence singular values of x y^T."""
  return np.linalg.qr(x, mode="r") if len(x) > x.shape[1] else x
