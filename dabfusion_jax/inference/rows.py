"""The rows of a batch: one for each person who dances in one of its dances."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from dabfusion_jax.inference.draft import Draft

Row = tuple[Draft, UInt8[np.ndarray, "n n 3"]]  # whose dance, and who is shown


def count_rows(people: int, least: int, devices: int) -> int:
  """Returns how many rows a batch has: at least `least`, the same on each device."""
  return -(-max(people, least) // devices) * devices


def rows_of(
  drafts: Sequence[Draft], least: int, devices: int
) -> tuple[list[Row], list[slice]]:
  """Returns the rows of dances, the last one repeated until there are enough.

  Args:
    drafts: at least one.
    least, devices: see `count_rows`.

  Returns:
    The rows, and the place of each dance among them.
  """
  rows: list[Row] = []
  places = []
  for draft in drafts:
    places.append(slice(len(rows), len(rows) + len(draft.ref_images)))
    rows += [(draft, ref_image) for ref_image in draft.ref_images]
  return rows + rows[-1:] * (count_rows(len(rows), least, devices) - len(rows)), places
