"""Tells people apart who touch each other, and so are one shape in a mask."""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, UInt8

from dabfusion_jax.people import landmarks as lm
from dabfusion_jax.people import territory, upper_body
from dabfusion_jax.people.landmarks import Landmarks
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
# Share of a shape beyond the outlines of all bodies in it, from which on somebody may
# not have been found, and from which on somebody was not. Skirts are beyond, too.
_MAY_MISS, _MISSED = 0.08, 0.2
# Score of the detector, from which on somebody is left: in photographs of groups,
# skirts have 0.70 at most, and people 0.77 at least.
_SURELY = 0.73


def those_in(squares: Sequence[Square], shape: Bool[np.ndarray, "h w"]) -> list[Square]:
  """Returns the squares around people whose chest lies in a shape."""
  chest = lambda square: square.to_picture(np.array([[0.5, 0.5 - _CHEST]]))
  return [square for square in squares if _values(shape, chest(square)).any()]


def find_bodies(
  look: Callable[[np.ndarray, Square], Landmarks],
  detect: Callable[..., Sequence[Square]],
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
    detect: returns squares around the people in a picture, the surest first; `least`
      is what their score must be at least.
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
    places = zip(bodies, territory.territories(bodies, shape.shape), strict=True)
    bodies = [
      _look_again(look, territory.alone_in(picture, empty, hidden), body, own, bodies)
      for body, (own, hidden) in places
    ]
  if not bodies:
    return []
  # Whoever is not found would be torn by those beside.
  is_taken = (
    np.min([territory.distance_from(body, shape.shape) for body in bodies], 0)
    < territory.SURE
  )
  missed = 1 - is_taken[shape].mean()
  if missed >= _MISSED:
    return []
  if missed >= _MAY_MISS:
    left = np.where(is_taken[..., None], empty, picture)
    if those_in(detect(left, least=_SURELY), shape & ~is_taken):
      return []
  return bodies


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
    is_taken = territory.distance_from(body, shape.shape) < territory.SURE
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
    body = _find_body(look, territory.alone_in(picture, empty, hidden), square, shape)
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


def _look_again(
  look: Callable[[np.ndarray, Square], Landmarks],
  picture: np.ndarray,
  body: Landmarks,
  own: np.ndarray,
  bodies: Sequence[Landmarks],
) -> Landmarks:
  """Returns a body as it is seen without others.

  Where somebody in front was, the network may see an arm that goes there. It is no
  surer of that than it was before.
  """
  found = _find_body(look, picture, _square_of(body), own)
  if found is None:
    return body
  confidence = found.confidence.copy()
  at = np.floor(found.points).astype(int)
  x, y = np.clip(at, 0, np.array(own.shape[::-1]) - 1).T
  for other in bodies:
    if territory.nearness(other.points, len(own)) > territory.nearness(
      body.points, len(own)
    ):
      covered = territory.distance_from(other, own.shape)[y, x] < territory.SURE
      confidence[covered] = np.minimum(confidence, body.confidence)[covered]
  return dataclasses.replace(found, confidence=confidence)


def _is_new(body: Landmarks, bodies: Sequence[Landmarks]) -> bool:
  """Returns whether a body has a trunk of its own, and is no head of another."""
  unit = trunk_length(body.points)
  others = [trunk_length(other.points) for other in bodies]
  away = [np.hypot(*(body.points - other.points)[_TRUNK].T).mean() for other in bodies]
  is_apart = all(distance > _APART * unit for distance in away)
  return is_apart and unit >= _SMALLEST * max(others, default=0.0)


def _square_of(body: Landmarks) -> Square:
  """Returns the square around a body, as a detector would."""
  neck, hips = (body.points[_TRUNK[i : i + 2]].mean(0) for i in (0, 2))
  side = float(np.hypot(*(neck - hips))) / _TRUNK_SHARE
  return Square(float(hips[0]) - side / 2, float(hips[1]) - side / 2, side)


def _values(shape: np.ndarray, points: np.ndarray) -> np.ndarray:
  """Returns the values of a shape at those of the points that lie in the picture."""
  x, y = np.floor(points).astype(int).T
  inside = (x >= 0) & (x < shape.shape[1]) & (y >= 0) & (y < shape.shape[0])
  return shape[y[inside], x[inside]]
