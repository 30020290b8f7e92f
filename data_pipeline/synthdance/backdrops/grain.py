"""Computes smooth random values on a plane."""

from typing import no_type_check

import numba
import numpy as np
from jaxtyping import Float64

Plane = Float64[np.ndarray, "h w"]


@numba.njit(cache=True, error_model="numpy")
@no_type_check
def smooth_values(
  table: Float64[np.ndarray, "s s"],
  u: Plane,
  v: Plane,
  size_u: float,
  size_v: float,
  shift_u: float,
  shift_v: float,
) -> Plane:
  """Interpolates a table, which repeats, at places of a plane.

  Args:
    table: values at whole coordinates.
    u, v: places.
    size_u, size_v: distance between neighbouring values.
    shift_u, shift_v: by which the table is moved, in its cells.
  """
  out = np.empty(u.shape)
  s = table.shape[0]
  for row in range(u.shape[0]):
    for column in range(u.shape[1]):
      a = u[row, column] / size_u + shift_u
      b = v[row, column] / size_v + shift_v
      fa, fb = np.floor(a), np.floor(b)
      p, q = a - fa, b - fb
      i, j = int(fa) % s, int(fb) % s
      i1, j1 = (i + 1) % s, (j + 1) % s
      near = table[i, j] * (1 - p) + table[i1, j] * p
      far = table[i, j1] * (1 - p) + table[i1, j1] * p
      out[row, column] = near * (1 - q) + far * q
  return out
