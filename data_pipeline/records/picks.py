"""Chooses a few of many clips or frames, evenly spaced."""

import numpy as np


def even_indices(total: int, count: int | None = None) -> list[int]:
  """Returns evenly spaced indices, from the first to the last.

  Args:
    total: number of items to choose from.
    count: number of indices; all `total` if None or if there are not more.
  """
  count = total if count is None else min(total, count)
  return [int(i) for i in np.linspace(0, total - 1, count)]
