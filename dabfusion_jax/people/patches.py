"""Fills a hole of a picture with patches of the rest of it.

Each patch of the hole is matched with the known patch that is most like it. All matches
vote for the colours of the hole, and matching is repeated with these, from coarse to
fine (Wexler, Shechtman and Irani, "Space-Time Completion of Video", PAMI 2007). Small
levels compare all patches; larger ones start from the matches of the coarser level and
try those of neighbouring patches (Barnes et al., "PatchMatch", SIGGRAPH 2009).

Patches are named by the row and column of their upper left corners.
"""

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, UInt8

from dabfusion_jax.people.fill import fill_smoothly

_SIDE = 7  # pixels of a patch
_STRIDE = 3  # pixels between patches of a hole; means of fewer votes are sharper
_COARSEST = 100  # pixels of the longer side, at most, of the coarsest level
_COMPARED = 140  # the same, of levels at which all patches are compared
_FINE = 1100  # the same, of levels at which neighbours are tried; others are copied
_FIRST_ROUNDS, _ROUNDS, _FINE_ROUNDS = 8, 4, 2
# Horizons, fences and lawns run along rows: a patch from a tenth of the height above or
# below is as bad as one whose colours differ by 16 grey levels.
_ROW_COST = 25_000.0
_LIGHT = 8.0  # grey levels by which a patch is made lighter or darker, at most
_CHUNK = 1024  # patches that are compared with all others at once


def fill_from_patches(
  picture: UInt8[np.ndarray, "h w 3"], hole: Bool[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "h w 3"]:
  """Returns the picture with a hole filled; everything else stays bit for bit.

  It is filled smoothly if nowhere beside it is room for a patch of the picture reduced
  to `_COMPARED` pixels or fewer.
  """
  if not hole.any() or hole.all():
    return picture
  levels = [_Level(picture.astype(np.float32), hole)]
  while levels[-1].size > _COARSEST and min(levels[-1].hole.shape) > 4 * _SIDE:
    levels.append(levels[-1].half())
  coarser = None
  for level in reversed(levels):
    if coarser is not None:
      level.begin_with(coarser)
    elif level.size > _COMPARED or not (len(level.sources) and len(level.targets)):
      continue
    if level.size <= _COMPARED:
      for _ in range(_FIRST_ROUNDS if coarser is None else _ROUNDS):
        level.vote(level.compare_all())
    elif level.size <= _FINE:
      for _ in range(_FINE_ROUNDS):
        level.vote(level.try_beside())
    coarser = level
  filled = np.clip(np.round(levels[0].colours), 0, 255).astype(np.uint8)
  return np.where(hole[..., None], filled, picture)


class _Level:
  """A picture at one size, whose hole is filled better and better.

  Attributes:
    colours: of the picture, float32; in the hole, the guess so far.
    hole: what is not known.
    size: pixels of the longer side.
    targets, sources: patches that touch the hole, and those that do not.
    found: for each target, the source that is most like it.
  """

  def __init__(self, colours: np.ndarray, hole: np.ndarray):
    self.colours, self.hole = fill_smoothly(colours, ~hole), hole
    self.size = max(hole.shape)
    edge = _SIDE // 2
    touches = scipy.ndimage.maximum_filter(hole, _SIDE)[edge:-edge, edge:-edge]
    self._is_source = ~touches
    self._last = np.array(touches.shape) - 1
    self.sources = np.argwhere(~touches)
    targets = np.argwhere(touches)
    on_grid = (targets % _STRIDE == 0) | (targets == self._last)
    self.targets = targets[on_grid.all(1)]
    self.found = np.zeros_like(self.targets)
    # Votes near the edge of the hole are more reliable.
    depth = scipy.ndimage.distance_transform_edt(hole)
    self._certainty = (1 + depth[tuple((self.targets + edge).T)]) ** -2.0

  def half(self) -> "_Level":
    """Returns the level of half the size, where a pixel is known if all of it is."""
    rows, columns = (size // 2 for size in self.hole.shape)
    colours = self.colours[: 2 * rows, : 2 * columns]
    hole = self.hole[: 2 * rows, : 2 * columns]
    return _Level(
      colours.reshape(rows, 2, columns, 2, 3).mean((1, 3)),
      hole.reshape(rows, 2, columns, 2).any((1, 3)),
    )

  def begin_with(self, coarser: "_Level") -> None:
    """Takes over the matches of the level of half the size, and fills the hole."""
    of_corner = np.full(coarser._is_source.shape, -1)
    of_corner[tuple(coarser.targets.T)] = np.arange(len(coarser.targets))
    nearest = _nearest(of_corner >= 0, np.minimum(self.targets // 2, coarser._last))
    number = of_corner[tuple(nearest.T)]
    moved = self.targets + 2 * (coarser.found - coarser.targets)[number]
    self.found = _nearest(self._is_source, np.clip(moved, 0, self._last))
    self.vote(np.zeros(len(self.targets)))

  def compare_all(self) -> np.ndarray:
    """Finds the best source of each target; returns their mean squared differences."""
    targets, sources = self._vectors(self.targets), self._vectors(self.sources)
    mean = sources.mean(0)  # large squares would cost digits
    targets, sources = targets - mean, sources - mean
    squares = (sources**2).sum(1)
    best = np.concatenate(
      [
        (squares - 2 * targets[start : start + _CHUNK] @ sources.T).argmin(1)
        for start in range(0, len(targets), _CHUNK)
      ]
    )
    self.found = self.sources[best]
    return ((targets - sources[best]) ** 2).mean(1)

  def _vectors(self, corners: np.ndarray) -> np.ndarray:
    """Returns the colours of patches and, at its cost, their row: [patch, value]."""
    windows = np.lib.stride_tricks.sliding_window_view(
      self.colours, (_SIDE, _SIDE), (0, 1)
    )
    vectors = windows[tuple(corners.T)].reshape(len(corners), -1)
    row = corners[:, :1] * np.sqrt(_ROW_COST * vectors.shape[1]) / len(self.hole)
    return np.concatenate([vectors, row], 1, dtype=np.float32)

  def try_beside(self) -> np.ndarray:
    """Tries what lies beside the sources of the targets beside each target.

    Returns:
      Mean squared differences of the better ones, over every other row and column.
    """
    width = self.hole.shape[1]
    grid = np.arange(0, _SIDE, 2)
    inside = (grid[:, None] * width + grid).ravel()
    flat = self.colours.reshape(-1, 3)

    def pixels(corners):
      return flat[(corners @ [width, 1])[:, None] + inside]

    own = pixels(self.targets)

    def costs_of(found, which):
      difference = own[which] - pixels(found)
      rows = (self.targets[which, 0] - found[:, 0]) / len(self.hole)
      return (difference**2).mean((1, 2)) + _ROW_COST * rows**2

    of_corner = np.full(self._is_source.shape, -1)
    of_corner[tuple(self.targets.T)] = np.arange(len(self.targets))
    costs = costs_of(self.found, slice(None))
    for step in _STRIDE * np.array([(0, 1), (1, 0), (0, -1), (-1, 0)]):
      number = of_corner[tuple(np.clip(self.targets + step, 0, self._last).T)]
      tried = np.clip(self.found[number] - step, 0, self._last)
      is_beside = (number >= 0) & (tried + step == self.found[number]).all(1)
      is_beside &= (self.targets + step <= self._last).all(1)
      is_new = (tried != self.found).any(1) & self._is_source[tuple(tried.T)]
      which = np.flatnonzero(is_beside & is_new)
      new = costs_of(tried[which], which)
      better = new < costs[which]
      self.found[which[better]] = tried[which[better]]
      costs[which[better]] = new[better]
    return costs

  def vote(self, costs: np.ndarray) -> None:
    """Fills the hole with means of all patches found, good ones counting for more."""
    typical = np.percentile(costs, 75) + 1
    weights = (self._certainty * np.exp(-costs / (2 * typical))).astype(np.float32)
    # Along a wall the light changes: a patch comes in the light of its new place.
    means = scipy.ndimage.uniform_filter(self.colours, (_SIDE, _SIDE, 1))
    to, of = (tuple((x + _SIDE // 2).T) for x in (self.targets, self.found))
    lighter = np.clip(means[to] - means[of], -_LIGHT, _LIGHT)
    width = self.hole.shape[1]
    flat = self.colours.reshape(-1, 3)
    total, weight = np.zeros_like(flat), np.zeros(len(flat), np.float32)
    to, of = self.targets @ [width, 1], self.found @ [width, 1]
    for row in range(_SIDE):
      for column in range(_SIDE):
        step = row * width + column  # no pixel twice: each target has its own
        total[to + step] += weights[:, None] * (flat[of + step] + lighter)
        weight[to + step] += weights
    voted = (self.hole.ravel() & (weight > 0))[:, None]
    mean = total / np.maximum(weight, 1e-30)[:, None]
    self.colours = np.where(voted, mean, flat).reshape(self.colours.shape)


def _nearest(chosen: np.ndarray, corners: np.ndarray) -> np.ndarray:
  """Returns the chosen corner that is nearest to each corner."""
  rows, columns = scipy.ndimage.distance_transform_edt(
    ~chosen, return_distances=False, return_indices=True
  )
  return np.stack([x[tuple(corners.T)] for x in (rows, columns)], 1)
