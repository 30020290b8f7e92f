"""Keeps what the picture does not show of a person outside of it."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from dabfusion_jax.people import landmarks as lm
from dabfusion_jax.people import skeleton
from dabfusion_jax.people.bounds import outline
from dabfusion_jax.people.piece import Piece
from dabfusion_jax.people.scene import Scene
from dabfusion_jax.people.skeleton import ARMS, HEAD, LIMBS, TORSO, Affine, Joints

# How far a trunk leaves its place at most, in trunks: to the sides (also of a person
# whose shoulders are cut off), up and down.
_ASIDE, _TIGHT, _UP, _DOWN = 0.4, 0.1, 0.1, 0.3
# In trunks: what is guessed of arms and hair may be seen so far inside the border that
# cuts them; that of arms stays so far beyond the other borders.
_SEEN, _BEYOND = 0.03, 0.1
_SWING = np.deg2rad(30)  # of each of its bones, at most
_STEPS = 16  # in which it is looked at how far it may swing
_SOFT = 0.15  # trunks beyond a limit, within which it is held back more and more

Point = Float[np.ndarray, "2"]


class CutOff:
  """The borders of a picture in which a person is danced who goes on below it.

  The person stays before the camera, the head in the picture; hands that are in the
  picture may leave it. An arm that the picture cuts off swings a little, as far as its
  cut stays outside; one that is cut above the elbow moves with the trunk.
  """

  def __init__(self, scene: Scene, pieces: Sequence[Piece]) -> None:
    """Measures the person at rest.

    Args:
      scene: with a window and landmarks.
      pieces: of the person.
    """
    self._joints = scene.landmarks.points
    self._low, self._high = np.reshape(scene.window, (2, 2)).astype(float)
    self._unit = skeleton.trunk_length(self._joints)
    self._cuts = {side: self._cut(side) for side in cut_arms(scene)}
    self._aside = _TIGHT if cut_upper_arms(scene) else _ASIDE
    # The middle of the visible part: a trunk leans about hips that may be out of sight.
    top, hips = (
      skeleton.neck(self._joints),
      self._joints[[lm.LEFT_HIP, lm.RIGHT_HIP]].mean(0),
    )
    seen = np.clip((self._high[1] - top[1]) / max(hips[1] - top[1], 1.0), 0, 1)
    self._middle = top + seen / 2 * (hips - top)
    heads = [outline(piece) for piece in pieces if piece.name == HEAD]
    self._head = np.concatenate([np.empty((0, 2)), *heads])

  def fit(self, moves: Mapping[str, Affine]) -> dict[str, Affine]:
    """Returns how pieces move inside the picture.

    Args:
      moves: how they would move without borders.
    """
    shift = self._stay(moves[TORSO])
    if len(self._head):
      head = skeleton.apply(moves[HEAD], self._head) + shift
      # As far as at rest it may be beyond a border.
      low = np.minimum(self._low, self._head.min(0))
      high = np.maximum(self._high, self._head.max(0))
      shift += np.maximum(low - head.min(0), 0) + np.minimum(high - head.max(0), 0)
      top = self._low[1]
      if low[1] < top:  # hair is cut off, and what is above must not come down
        hair = np.array([self._head[:, 0].mean(), top])
        y = skeleton.apply(moves[HEAD], hair)[1] + shift[1]
        shift[1] += min(top + _SEEN * self._unit - y, 0)
    moves = {name: skeleton.shifted(move, shift) for name, move in moves.items()}
    for side in self._cuts:
      moves |= self._keep_out(side, moves)
    return moves

  def _stay(self, torso: Affine) -> Point:
    """Returns what brings a trunk back, the more the farther it has gone."""
    x, y = (skeleton.apply(torso, self._middle) - self._middle) / self._unit
    limits = np.array([self._aside, _DOWN if y > 0 else _UP])
    travel = np.array([x, y])
    return (limits * np.tanh(travel / limits) - travel) * self._unit

  def _keep_out(self, side: str, moves: Mapping[str, Affine]) -> dict[str, Affine]:
    """Returns how an arm moves whose cut stays outside the picture."""
    if "upper" in self._cuts[side][0]:  # nothing is known of the forearm
      return self._arm(side, moves, 0.0)
    # Past a place that is out of bounds it does not swing on; and it is held back
    # little by little, or it would snap where that place comes into reach.
    outside = self._outside(side, moves, np.linspace(0, 1, _STEPS + 1))
    room = np.clip(1 + (outside - min(outside[0], 0)) / _SOFT, 0, 1)
    share = np.minimum.accumulate(room)[1:].mean()
    return self._arm(side, moves, float(share))

  def _arm(
    self, side: str, moves: Mapping[str, Affine], share: float
  ) -> dict[str, Affine]:
    """Returns an arm that swings by a share of what it may at most."""
    places = self._places(side, moves, np.array([share]))
    return {
      name: skeleton.laid(self._joints[list(LIMBS[name])], start[0], end[0])
      for name, (start, end) in places.items()
    }

  def _outside(
    self, side: str, moves: Mapping[str, Affine], shares: Float[np.ndarray, "n"]
  ) -> Float[np.ndarray, "n"]:
    """Returns how far a cut is outside what it must not enter, in trunks."""
    piece, cut, limits = self._cuts[side]
    bone = self._joints[list(LIMBS[piece])]
    places = self._places(side, moves, shares)
    moved = _laid(bone, cut, *places[piece])
    return (self._beyond(moved) - limits).max(-1) / self._unit

  def _places(
    self, side: str, moves: Mapping[str, Affine], shares: Float[np.ndarray, "n"]
  ) -> dict[str, tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, "n 2"]]]:
    """Returns where the bones of an arm begin and end that swings by each share."""
    names = ARMS[side]
    start = skeleton.apply(moves[names[0]], self._joints[LIMBS[names[0]][0]])
    start = np.repeat(start[None], len(shares), 0)
    places = {}
    for name in names:
      bone = self._joints[list(LIMBS[name])]
      still, danced = (
        np.diff(skeleton.apply(moves[part], bone), axis=0)[0] for part in (TORSO, name)
      )
      end = start + _swung(still, danced, shares)
      places[name] = start, end
      start = end
    return places

  def _cut(self, side: str) -> tuple[str, Point, Float[np.ndarray, "4"]]:
    """Returns where an arm is cut, and how far beyond the borders that has to stay."""
    piece, cut = _leaving(side, self._joints, self._low, self._high)
    is_there = self._beyond(cut) >= -1
    return piece, cut, self._unit * np.where(is_there, -_SEEN, _BEYOND)

  def _beyond(self, points: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 4"]:
    """Returns how far points are beyond each border, in pixels."""
    return np.concatenate([self._low - points, points - self._high], -1)


def cut_arms(scene: Scene) -> tuple[str, ...]:
  """Returns the sides, of "left" and "right", of arms whose hand is not shown."""
  return tuple(_cuts(scene))


def cut_upper_arms(scene: Scene) -> tuple[str, ...]:
  """Returns the sides, of "left" and "right", of arms that are cut above the elbow."""
  return tuple(side for side, piece in _cuts(scene).items() if "upper" in piece)


def _cuts(scene: Scene) -> dict[str, str]:
  """Returns the piece in which an arm leaves the picture, of each that does."""
  if scene.window is None or scene.landmarks is None:
    return {}
  low, high = np.reshape(scene.window, (2, 2)).astype(float)
  leaving = {side: _leaving(side, scene.landmarks.points, low, high) for side in ARMS}
  return {side: cut[0] for side, cut in leaving.items() if cut}


def _leaving(
  side: str, joints: Joints, low: Point, high: Point
) -> tuple[str, Point] | None:
  """Returns the piece and the place in which an arm leaves a window, if it does."""
  upper, lower = ARMS[side]
  shoulder, elbow, wrist = joints[[*LIMBS[upper], LIMBS[lower][1]]]
  tip = lm.fingertips(joints, side)
  parts = ((upper, shoulder, elbow), (lower, elbow, wrist), (lower, wrist, tip))
  for name, start, end in parts:
    along = start + np.linspace(0, 1, 65)[:, None] * (end - start)
    is_inside = ((along >= low) & (along < high)).all(1)
    if not is_inside.all():
      return name, along[is_inside.argmin()]
  return None


def _swung(
  still: Point, danced: Point, shares: Float[np.ndarray, "n"]
) -> Float[np.ndarray, "n 2"]:
  """Returns a bone that swings to the side to which it dances, as far as it may.

  Without a jump, also if a raised arm passes its highest point.
  """
  (x, y), (to_x, to_y) = still, danced
  sine = (x * to_y - y * to_x) / max(np.hypot(x, y) * np.hypot(to_x, to_y), 1e-9)
  turn = shares * _SWING * sine
  cos, sin = np.cos(turn), np.sin(turn)
  return np.stack([cos * x - sin * y, sin * x + cos * y], -1)


def _laid(
  bone: Float[np.ndarray, "2 2"],
  point: Point,
  start: Float[np.ndarray, "n 2"],
  end: Float[np.ndarray, "n 2"],
) -> Float[np.ndarray, "n 2"]:
  """Returns where `skeleton.laid` brings a point of a bone, for each of n places."""
  own, wanted, offset = bone[1] - bone[0], end - start, point - bone[0]
  length = max(np.hypot(*own), 1e-6)
  along = offset @ own / length**2
  across = (own[0] * offset[1] - own[1] * offset[0]) / length
  normal = np.stack([-wanted[:, 1], wanted[:, 0]], -1)
  normal /= np.maximum(np.linalg.norm(wanted, axis=1, keepdims=True), 1e-6)
  return start + along * wanted + across * normal
