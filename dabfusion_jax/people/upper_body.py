"""Finds the landmarks of a person whose lower part the picture does not show.

What is below the picture is guessed from the proportions of a standing adult.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from dabfusion_jax.people import landmarks as lm
from dabfusion_jax.people.landmarks import Landmarks
from dabfusion_jax.people.skeleton import Joints, neck, trunk_length
from dabfusion_jax.people.squares import Square

# Relative to the trunk, from the hips to the neck. Medians of twelve photographs: the
# width of the shoulders, from there to the ears, thigh and shin. About: the foot, the
# head, the whole person, how wide a person is with arms that hang down.
_SHOULDERS, _NECK, _THIGH, _SHIN = 0.67, 0.45, 0.76, 0.65
_TOE, _ABOVE_NECK, _HEIGHT, _WIDTH = 0.15, 0.8, 3.4, 1.0
_INSIDE = 0.1  # of the trunk, by which a guessed joint may lie in the picture
# How far below the picture shoulders may be, in trunks, because their tops are seen
# then; and the confidence that they need.
_BELOW, _SURE = 0.1, 0.5
_CLOSEST = 1.7  # heights of the picture, which the trunk of nobody exceeds
_STEADY = [lm.LEFT_EAR, lm.RIGHT_EAR, lm.LEFT_SHOULDER, lm.RIGHT_SHOULDER]
_STEADY += [lm.LEFT_ELBOW, lm.RIGHT_ELBOW]
_SETTLED = 0.03  # of the trunk, by which joints, or their means, may still change
_QUICK_LOOKS, _MAX_LOOKS = 4, 10  # after the first, it may be swinging to and fro
_LEGS = (
  (lm.LEFT_HIP, lm.LEFT_KNEE, lm.LEFT_ANKLE, lm.LEFT_TOE),
  (lm.RIGHT_HIP, lm.RIGHT_KNEE, lm.RIGHT_ANKLE, lm.RIGHT_TOE),
)


def settle(
  look: Callable[[Square], Landmarks], box: tuple[int, int, int, int]
) -> Square | None:
  """Returns the square of a person who is cut off, or None if it does not settle.

  The network has learnt from whole people, and presses what is missing into the
  picture. Shown the square in which the whole person would be, it finds what there is
  as exactly as in a whole person, and guesses the rest. That square follows from the
  landmarks, so it looks again until they stay where they are.

  Args:
    look: finds landmarks in a square.
    box: left, top, right and bottom of what is seen of the person.
  """
  left, top, right, _ = box
  points = look(_square((left + right) / 2, float(top), (right - left) / _WIDTH)).points
  for i in range(_MAX_LOOKS):
    before, points = points, look(_square_of_whole(points)).points
    if i >= _QUICK_LOOKS:
      points = (before + points) / 2
    change = np.hypot(*(points - before)[_STEADY].T).mean()
    if change < _SETTLED * _unit(points):
      return _square_of_whole(points)
  return None


def complete(found: Landmarks, height: int) -> Landmarks | None:
  """Returns landmarks with hips and legs, which are guessed if they are not seen.

  Args:
    found: in the square of `settle`.
    height: of the picture, in pixels.

  Returns:
    The landmarks; None if shoulders are not sure, if the picture shows little but a
    face, or if what is not seen would lie in it, as the knees of somebody who sits.
  """
  is_seen = (found.points[:, 1] < height) & (found.confidence >= lm.MIN_CONFIDENCE)
  points = found.points.copy()
  hips, shoulders = [lm.LEFT_HIP, lm.RIGHT_HIP], [lm.LEFT_SHOULDER, lm.RIGHT_SHOULDER]
  if _unit(points) > _CLOSEST * height:
    return None
  is_there = points[shoulders, 1] < height + _BELOW * _unit(points)
  if not (is_there & (found.confidence[shoulders] >= _SURE)).all():
    return None
  guessed = [hip for hip in hips if not is_seen[hip]]
  top, scale = neck(points), _unit(points) / trunk_length(points)
  points[guessed] = top + scale * (points[guessed] - top)
  unit = trunk_length(points)
  for leg in _LEGS:
    for upper, lower, length in zip(leg, leg[1:], (_THIGH, _SHIN, _TOE), strict=False):
      if not is_seen[lower]:
        points[lower] = points[upper] + [0.0, length * unit]
  # Not the toes: a picture may end at the soles.
  guessed = [joint for leg in _LEGS for joint in leg[:-1] if not is_seen[joint]]
  if (points[guessed, 1] < height - _INSIDE * unit).any():
    return None
  return dataclasses.replace(found, points=points)


def _square_of_whole(points: Joints) -> Square:
  (x, y), unit = neck(points), _unit(points)
  return _square(float(x), float(y) - _ABOVE_NECK * unit, unit)


def _square(middle: float, top: float, unit: float) -> Square:
  """Returns the square around a whole person, from what is seen of them at the top."""
  side = lm.MARGIN * _HEIGHT * unit
  return Square(middle - side / 2, top + _HEIGHT / 2 * unit - side / 2, side)


def _unit(points: Joints) -> float:
  """Returns the length of the trunk, by what is seen above it.

  The width of the shoulders tells, of somebody who has turned that of the neck.
  """
  width = np.hypot(*(points[lm.LEFT_SHOULDER] - points[lm.RIGHT_SHOULDER]))
  ears = points[[lm.LEFT_EAR, lm.RIGHT_EAR]].mean(0)
  height = np.hypot(*(neck(points) - ears))
  return max(float(width / _SHOULDERS), float(height / _NECK), 1.0)
