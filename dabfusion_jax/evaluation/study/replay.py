"""Claim 6: dances are not replayed training clips."""

from collections.abc import Sequence

import numpy as np

from dabfusion_jax.evaluation.study import estimates
from dabfusion_jax.evaluation.study.beats import Stage
from dabfusion_jax.evaluation.study.drawing import Dances
from dabfusion_jax.evaluation.study.estimates import Row
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
  owners = np.asarray(stage.subjects.sequences)
  own = owners[:, None] == owners[None]
  against = lambda flows: estimates.ratio(
    *of_as_many(flows, known, held_out, own), stage.subjects.sequences
  )
  true_share = against(held_out)
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
    share = against(drawn)
    title = f"nearest training clip, dances of {name} [px]"
    table += [
      Row(title, found, true, asked="not below true clips", met=met),
      Row(
        f"nearest held-out clip, dances of {name} [px]",
        stage.mean(nearest(drawn, held_out)),
      ),
      Row(
        f"nearest training against nearest held-out clip, of as many, dances of {name}",
        share,
        true_share,
        asked="not below true clips",
        met=share.value >= true_share.value - 2 * (true_share.error or 0.0),
      ),
    ]
  return table


def of_as_many(
  flows: np.ndarray, known: np.ndarray, held_out: np.ndarray, own: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Distances [n] to the nearest training and the nearest held-out clip, of as many.

  A calm dance is near to both, one learnt by heart only to the first. The first is the
  mean over parts of `known`, each of as many clips as `held_out`. `own`, bool [n, m],
  are held-out clips that do not count: those of a dance's own sequence.
  """
  parts = max(1, len(known) // len(held_out))
  found = [nearest(flows, known[i::parts]) for i in range(parts)]
  return np.mean(found, axis=0), nearest(flows, held_out, own)
