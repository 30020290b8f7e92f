"""Claim 6: dances are not replayed training clips."""

from collections.abc import Sequence

import numpy as np

from dabfusion_jax.evaluation.claims import estimates
from dabfusion_jax.evaluation.claims.beats import Stage
from dabfusion_jax.evaluation.claims.drawing import Dances
from dabfusion_jax.evaluation.claims.estimates import Row
from dabfusion_jax.ops.grid import identity_grid

_CHUNK = 256  # training clips at a time


def displacements(flows: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """Sampling grids [n, t, s, s, 2] -> displacements in pixels, float32 [n, d]."""
  grid = np.asarray(identity_grid(*flows.shape[2:4]))
  scale = np.array([(size[1] - 1) / 2, (size[0] - 1) / 2], np.float32)
  return ((flows - grid) * scale).reshape(len(flows), -1)


def nearest(
  flows: np.ndarray, others: np.ndarray, barred: np.ndarray | None = None
) -> np.ndarray:
  """Root mean square distance of each row [n, d] to the nearest of `others` [m, d].

  `barred`, bool [n, m], are pairs that do not count (a clip and itself).
  """
  best = np.full(len(flows), np.inf)
  norms = np.square(flows, dtype=np.float64).sum(1)
  for start in range(0, len(others), _CHUNK):
    part = others[start : start + _CHUNK]
    square = norms[:, None] + np.square(part, dtype=np.float64).sum(1)
    square -= 2.0 * (flows @ part.T).astype(np.float64)
    if barred is not None:
      square[barred[:, start : start + _CHUNK]] = np.inf
    best = np.minimum(best, square.min(1))
  # A distance of points: the mean over places and frames of both coordinates' squares.
  return np.sqrt(np.maximum(best, 0.0) / (flows.shape[1] / 2))


def rows(
  stage: Stage,
  dances: dict[str, Dances],
  training: np.ndarray,
  training_names: Sequence[str],
) -> list[Row]:
  """Distance to the nearest training clip, of dances, of true clips and of stillness.

  `training` are flows [m, t, s, s, 2]; windows of one video count as one clip.
  """
  size = stage.size
  known = displacements(training, size)
  held_out = displacements(stage.subjects.flow, size)
  true = stage.mean(nearest(held_out, known))
  picked = np.linspace(0, len(known) - 1, min(len(known), 100)).astype(int)
  names = np.asarray(training_names)
  barred = names[picked][:, None] == names[None]
  among = nearest(known[picked], known, barred)
  frozen = nearest(np.zeros_like(known[:1]), known)
  table = [
    Row("nearest training clip, held-out true clips [px]", true),
    Row(
      "nearest clip of another video, training clips [px]",
      estimates.mean(among, list(names[picked])),
    ),
    Row("nearest training clip, no motion [px]", estimates.mean(frozen, [""])),
  ]
  for name, one in dances.items():
    drawn = displacements(one.flow, size)
    found = stage.mean(nearest(drawn, known))
    met = found.value >= true.value - 2 * (true.error or 0.0)
    title = f"nearest training clip, dances of {name} [px]"
    table += [
      Row(title, found, true, asked="not below true clips", met=met),
      Row(
        f"nearest held-out clip, dances of {name} [px]",
        stage.mean(nearest(drawn, held_out)),
      ),
    ]
  return table
