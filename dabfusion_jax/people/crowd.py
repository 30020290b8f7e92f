"""Tells people apart who touch each other, and so are one shape in a mask."""

import functools
from collections.abc import Callable, Sequence

import numpy as np
import scipy.ndimage
import scipy.spatial
from jaxtyping import Bool, Float32, UInt8

from dabfusion_jax.people import landmarks as lm
from dabfusion_jax.people import upper_body
from dabfusion_jax.people.landmarks import Landmarks
from dabfusion_jax.people.regions import outlines
from dabfusion_jax.people.skeleton import trunk_length
from dabfusion_jax.people.squares import Square

_TRUNK = [lm.LEFT_SHOULDER, lm.RIGHT_SHOULDER, lm.LEFT_HIP, lm.RIGHT_HIP]
_JOINTS = [*_TRUNK, lm.NOSE, lm.LEFT_KNEE, lm.RIGHT_KNEE, lm.LEFT_ELBOW, lm.RIGHT_ELBOW]
_MIN_PRESENCE = 0.5  # of a body among others, which make the network unsure
_IN_SHAPE = 0.75  # share of the joints in the picture that lie in the shape
# Relative to the square around a person: from its centre, the hips, to the chest and
# to the top of the head, half the width of the shoulders, and the length of the trunk.
_CHEST, _TOP, _SHOULDERS, _TRUNK_SHARE = 0.18, 0.38, 0.13, 0.23
_APART = 0.3  # trunks, by which the trunks of two people differ at least
_SMALLEST = 0.35  # trunk of a person, relative to that of a neighbour
_MOST = 12  # people of a shape
_BEGINNINGS, _LOOKS_AGAIN = 3, 3
# Relative to outlines: what is hidden by somebody in front; what is surely somebody's,
# if it is farther from another by the third.
_HIDDEN, _SURE, _FARTHER = 0.75, 1.0, 1.5
# Trunks from a border between people, within which colours tell whose a pixel is; and
# how many of somebody's pixels it is compared with. Trunks, levels and radii of limbs
# that count as much as each other; and the sigma, in pixels, over which they are taken.
_BAND, _NEIGHBOURS = 0.25, 5
_PLACE, _COLOUR, _RADII, _SOFT = 0.1, 15.0, 0.5, 2.0
# Share of a shape beyond the outlines of all bodies in it, from which on somebody was
# not found: of generated groups at most 0.05, and 0.16 if somebody is missing.
_MISSED = 0.08


def those_in(squares: Sequence[Square], shape: Bool[np.ndarray, "h w"]) -> list[Square]:
  """Returns the squares around people whose chest lies in a shape."""
  chest = lambda square: square.to_picture(np.array([[0.5, 0.5 - _CHEST]]))
  return [square for square in squares if _values(shape, chest(square)).any()]


def find_bodies(
  look: Callable[[np.ndarray, Square], Landmarks],
  detect: Callable[[np.ndarray], Sequence[Square]],
  picture: UInt8[np.ndarray, "h w 3"],
  empty: UInt8[np.ndarray, "h w 3"],
  shape: Bool[np.ndarray, "h w"],
) -> list[Landmarks]:
  """Returns the bodies in a shape, or none if they are not all that is in it.

  Networks that know single people look at the surest of several, and mix them up where
  they are close. So whoever is found is taken out of the picture, and what is left is
  looked at again.

  Args:
    look: finds landmarks in a square of a picture.
    detect: returns squares around the people in a picture, the surest first.
    picture: of the people.
    empty: the same without them.
    shape: mask of them all.
  """
  bodies: list[Landmarks] = []
  squares = those_in(detect(picture), shape)
  for i in range(min(len(squares), _BEGINNINGS)):  # begins with the surest, or another
    order = squares[i:] + squares[:i]
    found = _one_by_one(look, detect, picture, empty, shape, order)
    bodies = max(bodies, found, key=len)
    if len(bodies) >= len(squares):
      break
  else:
    found = _side_by_side(look, picture, empty, shape, squares)
    bodies = max(bodies, found, key=len)
  for _ in range(_LOOKS_AGAIN if len(bodies) > 1 else 0):
    bodies = [
      _find_body(look, alone_in(picture, empty, hidden), _square_of(body), own) or body
      for body, (own, hidden) in zip(
        bodies, territories(bodies, shape.shape), strict=True
      )
    ]
  away = [_away(body, shape.shape) for body in bodies]
  # Whoever is not found would be torn by those beside.
  is_all = bool(bodies) and (np.min(away, 0)[shape] > _SURE).mean() < _MISSED
  return bodies if is_all else []


def _one_by_one(
  look: Callable[[np.ndarray, Square], Landmarks],
  detect: Callable[[np.ndarray], Sequence[Square]],
  picture: np.ndarray,
  empty: np.ndarray,
  shape: np.ndarray,
  squares: Sequence[Square],
) -> list[Landmarks]:
  """Returns bodies in the order in which they are found; see `find_bodies`."""
  bodies: list[Landmarks] = []
  left = shape
  while len(bodies) < _MOST:
    found = (_find_body(look, picture, square, shape) for square in squares)
    body = next((body for body in found if body and _is_new(body, bodies)), None)
    if body is None:
      break
    bodies.append(body)
    is_taken = _away(body, shape.shape) < _SURE
    picture = np.where(is_taken[..., None], empty, picture)
    left = left & ~is_taken
    squares = those_in(detect(picture), left)
  return bodies


def _side_by_side(
  look: Callable[[np.ndarray, Square], Landmarks],
  picture: np.ndarray,
  empty: np.ndarray,
  shape: np.ndarray,
  squares: Sequence[Square],
) -> list[Landmarks]:
  """Returns bodies, each looked for in a strip of the picture; see `find_bodies`."""
  squares = sorted(squares, key=lambda square: square.left + square.side / 2)
  middles = np.array([square.left + square.side / 2 for square in squares])
  edges = [0.0, *((middles[1:] + middles[:-1]) / 2).tolist(), float(shape.shape[1])]
  bodies: list[Landmarks] = []
  for square, left, right in zip(squares, edges, edges[1:], strict=False):
    hidden = shape.copy()
    hidden[:, int(left) : int(right)] = False
    body = _find_body(look, alone_in(picture, empty, hidden), square, shape)
    if body is not None and _is_new(body, bodies):
      bodies.append(body)
  return bodies


def _find_body(
  look: Callable[[np.ndarray, Square], Landmarks],
  picture: np.ndarray,
  square: Square,
  shape: np.ndarray,
) -> Landmarks | None:
  ends = np.array([[0.5 - _SHOULDERS, 0.5 - _TOP], [0.5 + _SHOULDERS, 1.0]])
  box = tuple(np.round(square.to_picture(ends).ravel()).astype(int).tolist())
  settled = upper_body.settle(functools.partial(look, picture), box)
  if settled is None:
    return None
  found = look(picture, settled)
  inside = _values(shape, found.points[_JOINTS])
  is_there = inside.sum() >= max(_IN_SHAPE * len(inside), 1)
  return found if is_there and found.presence >= _MIN_PRESENCE else None


def _is_new(body: Landmarks, bodies: Sequence[Landmarks]) -> bool:
  """Returns whether a body has a trunk of its own, and is no head of another."""
  unit = trunk_length(body.points)
  others = [trunk_length(other.points) for other in bodies]
  away = [np.hypot(*(body.points - other.points)[_TRUNK].T).mean() for other in bodies]
  is_apart = all(distance > _APART * unit for distance in away)
  return is_apart and unit >= _SMALLEST * max(others, default=0.0)


def territories(
  bodies: Sequence[Landmarks], shape: tuple[int, int]
) -> list[tuple[Bool[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]]:
  """Returns which pixels are nearest to each body, and which are surely another's.

  Args:
    bodies: in any order; whose feet are lower is in front, and hides the others.
    shape: height and width of the picture.
  """
  away = np.stack([_away(body, shape) for body in bodies])
  nearest = np.argmin(away, 0)
  for i in np.argsort([body.points[:, 1].max() for body in bodies]):
    nearest[away[i] < _HIDDEN] = i
  found = []
  for i in range(len(bodies)):
    others = np.delete(away, i, 0).min(0)
    hidden = (others < _SURE) & (away[i] > _FARTHER) & (nearest != i)
    found.append((nearest == i, hidden))
  return found


def by_colour(
  picture: UInt8[np.ndarray, "h w 3"],
  shape: Bool[np.ndarray, "h w"],
  bodies: Sequence[Landmarks],
  owns: Sequence[Bool[np.ndarray, "h w"]],
) -> list[Bool[np.ndarray, "h w"]]:
  """Returns territories whose borders lie where the colours change.

  Args:
    picture: of the people.
    shape: mask of them all.
    bodies: of each of them.
    owns: pixels that are nearest to each of them (`territories`).
  """
  unit = float(np.median([trunk_length(body.points) for body in bodies]))
  away = [scipy.ndimage.distance_transform_edt(~(own & shape)) for own in owns]
  band = shape & (np.sort(away, 0)[1] < _BAND * unit)
  colours = scipy.ndimage.gaussian_filter(picture.astype(np.float32), (1, 1, 0))
  place = np.stack(np.indices(shape.shape), -1) / (_PLACE * unit)
  features = np.concatenate([place, colours / _COLOUR], -1)
  costs = np.stack([_away(body, shape.shape) for body in bodies]) / _RADII
  for cost, own in zip(costs, owns, strict=True):
    core = own & shape & ~band
    if not core.any():
      return list(owns)
    tree = scipy.spatial.cKDTree(features[core])
    cost[band] += tree.query(features[band], _NEIGHBOURS)[0].mean(-1)
  label = scipy.ndimage.gaussian_filter(costs, (0, _SOFT, _SOFT)).argmin(0)
  found = []
  for i, own in enumerate(owns):
    wanted = np.where(band, label == i, own)
    # What hangs together with somebody through their own pixels alone.
    found.append(scipy.ndimage.binary_propagation(wanted & own, mask=wanted))
  is_left = ~np.any(found, 0)
  return [mask | own & is_left for mask, own in zip(found, owns, strict=True)]


def nearest(
  theres: Sequence[Bool[np.ndarray, "h w"]],
) -> list[Bool[np.ndarray, "h w"]]:
  """Returns the pixels that are nearest to each of several masks."""
  if len(theres) < 2:
    return [np.ones_like(there) for there in theres]
  labels = sum(i * there.astype(int) for i, there in enumerate(theres, 1))
  rows, columns = scipy.ndimage.distance_transform_edt(
    labels == 0, return_distances=False, return_indices=True
  )
  return [labels[rows, columns] == i for i in range(1, len(theres) + 1)]


def alone_in(
  picture: UInt8[np.ndarray, "h w 3"],
  empty: UInt8[np.ndarray, "h w 3"],
  hidden: Bool[np.ndarray, "h w"],
) -> UInt8[np.ndarray, "h w 3"]:
  """Returns a picture that is empty where it shows somebody else."""
  return np.where(hidden[..., None], empty, picture)


def _square_of(body: Landmarks) -> Square:
  """Returns the square around a body, as a detector would."""
  neck, hips = (body.points[_TRUNK[i : i + 2]].mean(0) for i in (0, 2))
  side = float(np.hypot(*(neck - hips))) / _TRUNK_SHARE
  return Square(float(hips[0]) - side / 2, float(hips[1]) - side / 2, side)


def _away(body: Landmarks, shape: tuple[int, int]) -> Float32[np.ndarray, "h w"]:
  pieces = outlines(body.points, trunk_length(body.points), shape)
  return np.min(list(pieces.values()), 0).astype(np.float32)


def _values(shape: np.ndarray, points: np.ndarray) -> np.ndarray:
  """Returns the values of a shape at those of the points that lie in the picture."""
  x, y = np.floor(points).astype(int).T
  inside = (x >= 0) & (x < shape.shape[1]) & (y >= 0) & (y < shape.shape[0])
  return shape[y[inside], x[inside]]
