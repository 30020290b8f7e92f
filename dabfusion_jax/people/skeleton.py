"""A person in the picture plane as bones, and how they move.

A bone is a straight piece of the body between two joints. Directions are taken from the
joints of the dance; lengths are those of the picture, shortened as far as a bone turns
towards the camera, so that limbs neither grow nor shrink at random. Only a limb that is
shorter in the picture than that of the other side may grow to its length.
"""

import dataclasses

import numpy as np
import scipy.ndimage
from jaxtyping import Float

from dabfusion_jax.people import landmarks as lm
from dabfusion_jax.people.footing import Feet
from dabfusion_jax.people.skirt import SKIRT, stretch

# Limb -> its first and last joint, in the order in which they hang on each other.
LIMBS = {
  "left_upper_arm": (lm.LEFT_SHOULDER, lm.LEFT_ELBOW),
  "left_forearm": (lm.LEFT_ELBOW, lm.LEFT_WRIST),
  "right_upper_arm": (lm.RIGHT_SHOULDER, lm.RIGHT_ELBOW),
  "right_forearm": (lm.RIGHT_ELBOW, lm.RIGHT_WRIST),
  "left_thigh": (lm.LEFT_HIP, lm.LEFT_KNEE),
  "left_shin": (lm.LEFT_KNEE, lm.LEFT_ANKLE),
  "right_thigh": (lm.RIGHT_HIP, lm.RIGHT_KNEE),
  "right_shin": (lm.RIGHT_KNEE, lm.RIGHT_ANKLE),
}
ARMS = {side: (f"{side}_upper_arm", f"{side}_forearm") for side in ("left", "right")}
LEGS = {side: (f"{side}_thigh", f"{side}_shin") for side in ("left", "right")}
FEET = {"left_foot": lm.LEFT_ANKLE, "right_foot": lm.RIGHT_ANKLE}
TORSO, HEAD = "torso", "head"
TORSO_JOINTS = (lm.LEFT_SHOULDER, lm.RIGHT_SHOULDER, lm.LEFT_HIP, lm.RIGHT_HIP)
# Bounds of the length of a bone, relative to the picture.
_ARM_LENGTHS, _LEG_LENGTHS, _TORSO_LENGTHS = (0.5, 1.1), (0.6, 1.06), (0.8, 1.06)
_TORSO_WIDTHS = (0.85, 1.06)
# The same, of one that is shorter than the one of the other side; hands grow along.
_LONGEST, _LONGEST_FOREARM = 1.6, 1.25
_MAX_NOD = np.deg2rad(20)
# A foot that is as many trunks higher than the other bears less of the body, and is off
# the floor.
_LOWER, _ON_FLOOR = 0.05, 0.12
# By which a leg may turn and stretch so that its foot stands.
_MAX_TURN, _LEG_FACTORS = np.deg2rad(12), (0.92, 1.06)
_AT_REST = np.deg2rad(25)  # within it, the pose of the picture is kept
# Frames; with it the velocities of joints that are read are nearest to the true ones
# (`benchmarks.joints`).
SMOOTHING = 0.5
SMOOTHING_REACH = 3  # frames before and after, by which a smoothed joint is influenced

Joints = Float[np.ndarray, "33 2"]
Affine = Float[np.ndarray, "2 3"]  # from pixels of the picture to those of a frame


def smooth_joints(
  joints: Float[np.ndarray, "t n 2"],
  confidence: Float[np.ndarray, "t n"],
  sigma: float = SMOOTHING,
) -> Float[np.ndarray, "t n 2"]:
  """Smooths joints over time; those of low confidence follow their neighbours.

  Args:
    joints: of consecutive frames.
    confidence: of the joints, in [0, 1].
    sigma: in frames.
  """
  weight = np.maximum(confidence, 1e-3)[..., None]
  blur = lambda x: scipy.ndimage.gaussian_filter1d(
    x, sigma, 0, mode="nearest", radius=SMOOTHING_REACH
  )
  return blur(joints * weight) / blur(weight)


def face_forward(
  joints: Float[np.ndarray, "t 33 2"], rest: Joints, before: Joints
) -> Float[np.ndarray, "t 33 2"]:
  """Exchanges left and right in frames in which the reading has confused them.

  A picture shows one side of a person, so a reading of the other side is taken for a
  confusion: the order is kept that is nearer to the frame before and to `rest`.

  Args:
    joints: of consecutive frames.
    rest: of the frame without motion.
    before: of the frame before the first one; `rest` if there is none.
  """
  swapped = list(range(len(rest)))
  for left, right in lm.PAIRS:
    swapped[left], swapped[right] = right, left
  used = sorted({joint for bone in LIMBS.values() for joint in bone})
  result = []
  for pose in joints:
    costs = [
      sum(
        np.hypot(*(choice[used] - other[used]).T).sum()
        for other in (before, rest + choice[used].mean(0) - rest[used].mean(0))
      )
      for choice in (pose, pose[swapped])
    ]
    before = pose if costs[0] <= costs[1] else pose[swapped]
    result.append(before)
  return np.stack(result)


@dataclasses.dataclass(frozen=True)
class Skeleton:
  """The joints of a picture, and what is read of the same pose without motion.

  Attributes:
    joints: of the picture, in its pixels.
    rest: what is read from no motion, in the same pixels. What joints differ from it
      is motion.
    held: sides ("left", "right") whose arm moves with the trunk.
    has_skirt: whether cloth between the legs moves with both.
  """

  joints: Joints
  rest: Joints
  held: tuple[str, ...] = ()
  has_skirt: bool = False

  def feet(self, joints: Joints) -> Feet:
    """Returns where a generated frame shows the ankles.

    Args:
      joints: of the frame, in the pixels of the picture.
    """
    ankles = list(FEET.values())
    return joints[ankles] + self.joints[ankles] - self.rest[ankles]

  def pose(self, joints: Joints, feet: Feet) -> dict[str, Affine]:
    """Returns how each bone of the picture moves to a pose.

    Args:
      joints: of a generated frame, in the pixels of the picture.
      feet: where a foot stands that is on the floor.
    """
    torso = self._move_torso(joints)
    moves = {TORSO: torso}
    ends = {}
    for name, (first, last) in LIMBS.items():
      if first not in ends:  # it hangs on the torso
        ends[first] = apply(torso, self.joints[first])
      side, _, part = name.partition("_")
      if side in self.held and "arm" in part:
        moves[name], ends[last] = torso, apply(torso, self.joints[last])
      else:
        moves[name], ends[last] = self._move_limb(name, ends[first], joints)
    moves[HEAD] = self._move_head(torso, joints)
    moves = self._stand(moves, ends, feet)
    if self.has_skirt:
      thighs = [moves[thigh] for thigh, _ in LEGS.values()]
      moves[SKIRT] = stretch(self.joints, moves[TORSO], *thighs)
    return moves

  def _move_torso(self, joints: Joints) -> Affine:
    (hips, axis, width), (rest_hips, rest_axis, rest_width), (own_hips, own_axis, _) = (
      _torso(points) for points in (joints, self.rest, self.joints)
    )
    turn = _angle(axis) - _angle(rest_axis)
    length = np.clip(_length(axis) / _length(rest_axis), *_TORSO_LENGTHS)
    across = np.clip(width / rest_width, *_TORSO_WIDTHS)
    matrix = _stretch(_angle(own_axis), turn, length, across)
    return _about(matrix, own_hips, own_hips + hips - rest_hips)

  def _move_limb(
    self, name: str, start: np.ndarray, joints: Joints
  ) -> tuple[Affine, np.ndarray]:
    """Returns how a limb moves, and where its last joint is then."""
    first, last = LIMBS[name]
    bone, own, rest = (
      points[last] - points[first] for points in (joints, self.joints, self.rest)
    )
    # A difference of the picture from `rest` is an error of the reading as long as the
    # limb keeps its pose, and means nothing when it has turned away.
    moved = _wrap(_angle(bone) - _angle(rest))
    kept = np.exp(-((moved / _AT_REST) ** 2))
    turn = _wrap(_angle(bone) - _angle(own))
    turn += kept * _wrap(_angle(own) - _angle(rest))
    length = _length(bone) + kept * (_length(own) - _length(rest))
    factor = np.clip(length / _length(own), *self._lengths(name))
    matrix = _stretch(_angle(own), turn, factor, 1.0)
    return _about(matrix, self.joints[first], start), start + matrix @ own

  def _lengths(self, name: str) -> tuple[float, float]:
    """Returns the bounds of the length of a limb, relative to the picture.

    One that points at the camera there may become as long as that of the other side.
    """
    side, _, part = name.partition("_")
    other = f"{'right' if side == 'left' else 'left'}_{part}"
    own, paired = (
      _length(self.joints[last] - self.joints[first])
      for first, last in (LIMBS[name], LIMBS[other])
    )
    least, most = _ARM_LENGTHS if "arm" in name else _LEG_LENGTHS
    longest = _LONGEST_FOREARM if part == "forearm" else _LONGEST
    return least, float(np.clip(most * paired / own, most, longest))

  def _move_head(self, torso: Affine, joints: Joints) -> Affine:
    def angle(points):
      ears = (points[lm.LEFT_EAR] + points[lm.RIGHT_EAR]) / 2
      return _angle(ears - neck(points))

    nod = _wrap(angle(joints) - angle(self.rest))
    nod = np.clip(nod, -_MAX_NOD, _MAX_NOD)
    pivot = neck(self.joints)
    return _about(_rotation(nod), pivot, apply(torso, pivot))

  def _stand(
    self, moves: dict[str, Affine], ends: dict[int, np.ndarray], feet: Feet
  ) -> dict[str, Affine]:
    """Adds the feet, and puts those that are on the floor where they stand.

    The whole body moves, so that the lower foot stands. Then each leg turns about its
    hip, the less the higher its foot is.
    """
    ankles = np.stack([ends[ankle] for ankle in FEET.values()])
    above = (feet[:, 1].max() - feet[:, 1]) / trunk_length(self.joints)
    weight = np.exp(-above / _LOWER)[:, None]
    shift = ((feet - ankles) * weight).sum(0) / weight.sum()
    moves = {name: shifted(move, shift) for name, move in moves.items()}
    on_floor = np.exp(-((above / _ON_FLOOR) ** 2))
    for i, (name, ankle) in enumerate(FEET.items()):
      side = name.partition("_")[0]
      hip, thigh, shin = LIMBS[f"{side}_thigh"][0], f"{side}_thigh", f"{side}_shin"
      pivot, end = apply(moves[thigh], self.joints[hip]), ankles[i] + shift
      leg, wanted = end - pivot, feet[i] + (1 - on_floor[i]) * (end - feet[i]) - pivot
      turn = np.clip(_wrap(_angle(wanted) - _angle(leg)), -_MAX_TURN, _MAX_TURN)
      factor = np.clip(_length(wanted) / _length(leg), *_LEG_FACTORS)
      about = _about(factor * _rotation(turn), pivot, pivot)
      moves |= {part: _compose(about, moves[part]) for part in (thigh, shin)}
      moves[name] = _translation(apply(about, end) - self.joints[ankle])
    return moves


def trunk_length(joints: Joints) -> float:
  """Returns the distance from the middle of the hips to the neck, in pixels."""
  return _length(_torso(joints)[1])


def neck(points: Joints) -> Float[np.ndarray, "2"]:
  """Returns the middle of the shoulders."""
  return (points[lm.LEFT_SHOULDER] + points[lm.RIGHT_SHOULDER]) / 2


def apply(move: Affine, points: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 2"]:
  """Moves points (x, y)."""
  return points @ move[:, :2].T + move[:, 2]


def shifted(move: Affine, shift: Float[np.ndarray, "2"]) -> Affine:
  """Returns a move that then also moves everything by the same vector."""
  return move + np.c_[np.zeros((2, 2)), shift]


def turn_between(first: Affine, second: Affine) -> float:
  """Returns by how much the second move turns beyond the first, in radians."""
  own = np.linalg.solve(first[:, :2], second[:, :2])
  return float(np.arctan2(own[1, 0] - own[0, 1], own[0, 0] + own[1, 1]))


def laid(
  bone: Float[np.ndarray, "2 2"],
  start: Float[np.ndarray, "2"],
  end: Float[np.ndarray, "2"],
) -> Affine:
  """Returns how a bone, from one joint to the next, is laid between two places."""
  own, wanted = bone[1] - bone[0], end - start
  factor = _length(wanted) / _length(own)
  turn = _angle(wanted) - _angle(own)
  return _about(_stretch(_angle(own), turn, factor, 1.0), bone[0], start)


def _torso(points: Joints) -> tuple[np.ndarray, np.ndarray, float]:
  """Returns the middle of the hips, the axis from there to the neck, and the width."""
  hips = (points[lm.LEFT_HIP] + points[lm.RIGHT_HIP]) / 2
  width = _length(points[lm.LEFT_SHOULDER] - points[lm.RIGHT_SHOULDER])
  return hips, neck(points) - hips, width


def _angle(vector: np.ndarray) -> float:
  return float(np.arctan2(vector[1], vector[0]))


def _length(vector: np.ndarray) -> float:
  return max(float(np.hypot(*vector)), 1e-6)


def _wrap(angle: float) -> float:
  return float((angle + np.pi) % (2 * np.pi) - np.pi)


def _rotation(angle: float) -> np.ndarray:
  cos, sin = np.cos(angle), np.sin(angle)
  return np.array([[cos, -sin], [sin, cos]])


def _stretch(axis: float, turn: float, along: float, across: float) -> np.ndarray:
  """Returns the matrix that scales along and across an axis, then turns."""
  to_axis = _rotation(-axis)
  return _rotation(axis + turn) @ np.diag([along, across]) @ to_axis


def _about(matrix: np.ndarray, pivot: np.ndarray, target: np.ndarray) -> Affine:
  """Returns the map that applies a matrix and brings `pivot` to `target`."""
  return np.c_[matrix, target - matrix @ pivot]


def _compose(after: Affine, before: Affine) -> Affine:
  """Returns the map that applies `before`, then `after`."""
  matrix = after[:, :2] @ before[:, :2]
  return np.c_[matrix, apply(after, before[:, 2])]


def _translation(shift: np.ndarray) -> Affine:
  return np.c_[np.eye(2), shift]
