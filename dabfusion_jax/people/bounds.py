"""Keeps a dance inside the picture."""

from collections.abc import Mapping, Sequence

import numpy as np
import scipy.spatial
from jaxtyping import Float

from dabfusion_jax.people import skeleton
from dabfusion_jax.people.piece import Piece
from dabfusion_jax.people.skeleton import ARMS, LIMBS, Affine, Joints

_MARGIN = 0.015  # that stays free, relative to the shorter side
_MIN_LENGTH = 0.4  # of an arm whose hand would leave the picture, of what it was
_PASSES = 2  # a hand that was drawn in turns, and may stick out again a little

Points = Float[np.ndarray, "n 2"]
Corner = Float[np.ndarray, "2"]


class Bounds:
  """The borders of a picture, within which a person is moved.

  An arm that would cross them is shortened, as one that points more towards the camera.
  A body that would, or whose arm would even at its least length, is moved back as a
  whole.
  """

  def __init__(
    self,
    pieces: Sequence[Piece],
    joints: Joints,
    size: tuple[int, int],
    held: Sequence[str],
  ) -> None:
    """Measures the person at rest, who may be nearer to the border than is allowed.

    Args:
      pieces: of the person.
      joints: of the picture.
      size: width and height of the picture.
      held: sides ("left", "right") whose arm moves with the trunk.
    """
    outlines = {piece.name: outline(piece) for piece in pieces}
    self._outlines = {name: x for name, x in outlines.items() if len(x)}
    self._joints = joints
    self._free = [side for side in ARMS if side not in held]
    self._body = [
      name
      for name in self._outlines
      if "arm" not in name or name.partition("_")[0] in held
    ]
    margin = _MARGIN * min(size)
    self._arms = {side: self._reaching(side) for side in self._free}
    points = np.concatenate([np.empty((0, 2)), *self._outlines.values()])
    low, high = _box(points) if len(points) else (np.zeros(2), np.zeros(2))
    self._low = np.minimum(margin, low)
    self._high = np.maximum(np.array(size) - margin, high)

  def fit(self, moves: Mapping[str, Affine]) -> dict[str, Affine]:
    """Returns how pieces move inside the picture.

    Args:
      moves: how they would move without borders.
    """
    body = [skeleton.apply(moves[name], self._outlines[name]) for name in self._body]
    for side in self._free:
      start, arm = self._arm(side, moves)
      body.append(start + _MIN_LENGTH * (arm - start))
    if any(map(len, body)):
      shift = self._shift(*_box(np.concatenate(body)))
      moves = {name: skeleton.shifted(move, shift) for name, move in moves.items()}
    else:
      moves = dict(moves)
    for side in self._free * _PASSES:
      moves |= self._shorten(side, moves)
    return moves

  def _reaching(self, side: str) -> dict[str, Points]:
    """Returns the corners of an arm by piece, without those around the shoulder.

    What sticks out there does not come back if the arm is shortened.
    """
    upper, lower = ARMS[side]
    shoulder, elbow = self._joints[list(LIMBS[upper])]
    corners = {
      name: self._outlines.get(name, np.empty((0, 2))) for name in (upper, lower)
    }
    along = (corners[upper] - shoulder) @ (elbow - shoulder)
    beyond = along > 0.5 * (elbow - shoulder) @ (elbow - shoulder)
    return corners | {upper: corners[upper][beyond]}

  def _arm(self, side: str, moves: Mapping[str, Affine]) -> tuple[Corner, Points]:
    """Returns where the shoulder and the corners of an arm are."""
    upper, _ = ARMS[side]
    start = skeleton.apply(moves[upper], self._joints[LIMBS[upper][0]])
    corners = self._arms[side].items()
    return start, np.concatenate(
      [skeleton.apply(moves[name], x) for name, x in corners]
    )

  def _shift(self, low: Corner, high: Corner) -> Corner:
    """Returns by how much a box has to move; one too large stands out at both ends."""
    first, last = self._low - low, self._high - high
    return np.clip(0.0, np.minimum(first, last), np.maximum(first, last))

  def _shorten(self, side: str, moves: Mapping[str, Affine]) -> dict[str, Affine]:
    """Returns how an arm moves, so that its hand stays in the picture."""
    start, points = self._arm(side, moves)
    if not len(points):
      return {}
    low, high = _box(points)
    scale = np.minimum(
      _share(start - self._low, start - low), _share(self._high - start, high - start)
    )
    if (scale == 1).all():
      return {}
    names = ARMS[side]
    shoulder, elbow, wrist = LIMBS[names[0]] + LIMBS[names[1]][1:]
    joints = [
      skeleton.apply(moves[name], self._joints[joint])
      for name, joint in zip(names, (elbow, wrist), strict=True)
    ]
    elbow_at, wrist_at = (start + scale * (joint - start) for joint in joints)
    return {
      names[0]: skeleton.laid(self._joints[[shoulder, elbow]], start, elbow_at),
      names[1]: skeleton.laid(self._joints[[elbow, wrist]], elbow_at, wrist_at),
    }


def _share(space: Corner, reach: Corner) -> Corner:
  """Returns by how much an arm has to be shortened in each direction.

  Args:
    space: from the shoulder to the border.
    reach: from the shoulder to the end of the arm; negative if it points away.
  """
  share = np.maximum(space, 0) / np.maximum(reach, 1e-6)
  is_beyond = (reach > space) & (reach > 0)
  return np.where(is_beyond, np.clip(share, _MIN_LENGTH, 1), 1.0)


def outline(piece: Piece) -> Points:
  """Returns the corners of the convex hull of a piece, in pixels of the picture."""
  rows, columns = np.nonzero(np.asarray(piece.image)[..., 3] > 127)
  points = np.stack([columns, rows], -1) + [piece.left + 0.5, piece.top + 0.5]
  if len(points) < 3:
    return points
  return points[scipy.spatial.ConvexHull(points, qhull_options="QJ").vertices]


def _box(points: Points) -> tuple[Corner, Corner]:
  return points.min(0), points.max(0)
