"""Turns the joints of a dance into turns of a person's bones.

Limbs take the directions of the choreography. Legs then reach for the places where its
feet stand, so that planted feet stay; arms are kept out of the trunk of this body.
"""

import dataclasses

import numpy as np
from jaxtyping import Float32, Float64

from data_pipeline.synthdance.body import (
  JOINTS,
  Dancer,
  Skeleton,
  bend_limb,
  pose_skeleton,
)
from data_pipeline.synthdance.choreography import Poses
from data_pipeline.synthdance.people.anatomy import Shape, anatomy, members
from data_pipeline.synthdance.people.mesh import unit
from data_pipeline.synthdance.people.person import Person
from data_pipeline.synthdance.people.rotations import (
  Rotations,
  Vectors,
  about,
  between,
  frame,
  swing,
  turned,
)

_AT = {name: i for i, name in enumerate(JOINTS)}
_SIDES = (("l", "left", 1.0), ("r", "right", -1.0))
_ANKLE, _TOE_DROP = 0.045, -0.029 / 0.105  # of the choreography's feet when flat
_TRUNK_MARGIN = 4.5  # cm between the trunk and the middle of a wrist
_UP = np.array([0.0, 1.0, 0.0])


@dataclasses.dataclass(frozen=True)
class Posed:
  """The bones of a person in every frame.

  Attributes:
    turn, shift: a point x of a bone at rest is at turn @ x + shift.
    heads: where the bones begin.
    bend: of each bone against its parent, 0 (as at rest) to 2 (turned back).
    landmarks: nose, eyes and ears.
    skeleton: the same pose in the joints of `synthdance.body`.
  """

  turn: Float32[np.ndarray, "t b 3 3"]
  shift: Float32[np.ndarray, "t b 3"]
  heads: Float64[np.ndarray, "t b 3"]
  bend: Float32[np.ndarray, "t b"]
  landmarks: Float64[np.ndarray, "t 5 3"]
  skeleton: Skeleton


def pose(person: Person, poses: Poses, curl: tuple[float, float]) -> Posed:
  """Puts a person into poses.

  Args:
    person: who dances.
    poses: of the choreography.
    curl: of the fingers of the left and the right hand, radians per joint.
  """
  plan = pose_skeleton(poses, as_dancer(person))
  return _Poser(person, plan, curl).posed()


def as_dancer(person: Person) -> Dancer:
  """Returns a figure of the same build."""
  at = dict(zip(anatomy().bones, person.shape.heads, strict=True))
  size = person.shape.height
  leg = _distance(at["thigh_l"], at["calf_l"]) + _distance(at["calf_l"], at["foot_l"])
  grey = (128, 128, 128)
  return Dancer(
    height=size, girth=1.0, legs=leg / (0.485 * size), shoulders=1.0, skin=grey,
    hair=grey, hat=None, long_hair=False, top=grey, trousers=grey, shoes=grey,
    long_sleeves=False, long_trousers=False, pattern="plain", trim=grey,
  )  # fmt: skip


def _distance(a: np.ndarray, b: np.ndarray) -> float:
  return float(np.sqrt(((a - b) ** 2).sum()))


class _Poser:
  """Fills in the bones, parents before children."""

  def __init__(self, person: Person, plan: Skeleton, curl: tuple[float, float]) -> None:
    body = anatomy()
    self.person, self.shape, self.plan, self.curl = person, person.shape, plan, curl
    self.bones = {name: i for i, name in enumerate(body.bones)}
    self.parents = body.parents
    count = len(plan.joints)
    self.turn = np.tile(np.eye(3), (count, len(self.bones), 1, 1))
    self.at = {name: plan.joints[:, i] for name, i in _AT.items()}
    self._spine()
    self.place()
    for side in _SIDES:
      self._arm(*side)
      self._leg(*side)
    # Rounded to hide last bits that differ between processors.
    self.turn = np.round(self.turn, 6)
    self.place()

  def _rest(self, bone: str) -> np.ndarray:
    return self.shape.heads[self.bones[bone]]

  def _put(self, bone: str, turn: Rotations) -> None:
    self.turn[:, self.bones[bone]] = turn

  def _get(self, bone: str) -> Rotations:
    return self.turn[:, self.bones[bone]]

  def _head(self, bone: str) -> Vectors:
    return self.heads[:, self.bones[bone]]

  def place(self) -> None:
    """Computes where the bones begin, from their turns."""
    rest = self.shape.heads
    self.heads = np.zeros((len(self.turn), len(rest), 3))
    for i, parent in enumerate(self.parents):
      if parent >= 0:
        step = turned(self.turn[:, parent], rest[i] - rest[parent])
        self.heads[:, i] = self.heads[:, parent] + step
    # The hips are where those of the choreography are.
    planned = 0.5 * (self.at["left_hip"] + self.at["right_hip"])
    size = self.shape.height
    planned = planned + [0, self._rest("foot_l")[1] - _ANKLE * size, 0]
    self.heads += (planned - 0.5 * (self._head("thigh_l") + self._head("thigh_r")))[
      :, None
    ]

  def _spine(self) -> None:
    at = self.at
    spine = unit(at["neck"] - at["pelvis"])
    pelvis = frame(at["left_hip"] - at["right_hip"], 0.6 * spine + 0.4 * _UP)
    chest = frame(at["left_shoulder"] - at["right_shoulder"], spine)
    ahead = unit(self.plan.facing)
    up = unit(at["head"] - at["neck"] - 0.1 * self.plan.facing)
    up = unit(up - ahead * (ahead * up).sum(-1, keepdims=True))
    skull = np.stack([np.cross(up, ahead), up, ahead], -1)
    self._put("pelvis", pelvis)
    for name, share in (("spine_01", 0.3), ("spine_02", 0.65), ("spine_03", 1.0)):
      self._put(name, between(pelvis, chest, share))
    self._put("neck_01", between(chest, skull, 0.5))
    self._put("head", skull)
    self.chest, self.pelvis = self._get("spine_03").copy(), pelvis

  def _arm(self, s: str, side: str, sign: float) -> None:
    chest = self.chest
    upper = self._rest(f"lowerarm_{s}") - self._rest(f"upperarm_{s}")
    fore = self._rest(f"hand_{s}") - self._rest(f"lowerarm_{s}")
    to_upper = self.at[f"{side}_elbow"] - self.at[f"{side}_shoulder"]
    to_fore = self.at[f"{side}_wrist"] - self.at[f"{side}_elbow"]
    lift = swing(turned(chest, upper), to_upper)
    self._put(
      f"clavicle_{s}",
      between(np.broadcast_to(np.eye(3), lift.shape), lift, 0.22) @ chest,
    )
    self._put(f"upperarm_{s}", lift @ chest)
    self.place()
    # Where this body's wrist would be, moved out of its trunk.
    shoulder = self._head(f"upperarm_{s}")
    lengths = _distance(upper, 0 * upper), _distance(fore, 0 * fore)
    elbow = shoulder + unit(to_upper) * lengths[0]
    wrist = elbow + unit(to_fore) * lengths[1]
    pushed = self._outside(wrist, sign)
    moved = (np.abs(pushed - wrist).max(-1) > 1e-3)[:, None]
    pole = (
      elbow - 0.5 * (shoulder + wrist) + turned(chest, np.array([sign, -1.0, -2.0]))
    )
    bent, reached = bend_limb(shoulder, pushed, *lengths, pole)
    to_upper = np.where(moved, bent - shoulder, to_upper)
    to_fore = np.where(moved, reached - bent, to_fore)
    arm = swing(turned(chest, upper), to_upper) @ chest
    self._put(f"upperarm_{s}", arm)
    forearm = swing(turned(arm, fore), to_fore) @ arm
    self._put(f"lowerarm_{s}", forearm)
    self._put(f"hand_{s}", forearm)
    self._fingers(s, sign)

  def _outside(self, point: Vectors, sign: float) -> Vectors:
    """Moves wrists out of the trunk, along its nearest direction."""
    shape = self.shape
    low, high = self._rest("thigh_l")[1], self._rest("upperarm_l")[1]
    middle = self._rest("spine_02")
    base = self._head("spine_02")
    local = turned(np.swapaxes(self.chest, -1, -2), point - base) + middle
    table = trunk_radii(shape, self.person)
    rows = np.clip((local[:, 1] - low) / (high - low), 0, 1) * (len(table) - 1)
    row = np.round(rows).astype(int)
    half_width, front, back, centre = table[row].T
    x, z = local[:, 0], local[:, 2] - centre
    depth = np.where(z > 0, front, back)
    a, d = half_width + _TRUNK_MARGIN, depth + _TRUNK_MARGIN
    radius = np.sqrt((x / a) ** 2 + (z / d) ** 2)
    inside = (radius < 1) & (local[:, 1] > low - 25) & (local[:, 1] < high + 4)
    grow = 1 / np.maximum(radius, 0.25)
    out = local.copy()
    out[:, 0] = np.where(inside, x * grow, x)
    out[:, 2] = np.where(inside, z * grow, z) + centre
    return turned(self.chest, out - middle) + base

  def _fingers(self, s: str, sign: float) -> None:
    heads, tails = self.shape.heads, self.shape.tails
    wrist = self._rest(f"hand_{s}")
    across = np.cross(
      self._rest(f"index_01_{s}") - wrist, self._rest(f"pinky_01_{s}") - wrist
    )
    palm = unit(across) * sign
    for finger in ("index", "middle", "ring", "pinky", "thumb"):
      for k in (1, 2, 3):
        i = self.bones[f"{finger}_0{k}_{s}"]
        if finger == "thumb" and k == 1:
          self.turn[:, i] = self._get(f"hand_{s}")
          continue
        axis = unit(np.cross(unit(tails[i] - heads[i]), palm))
        angle = self.curl[s == "r"] * (0.5 if finger == "thumb" else 1.0)
        self.turn[:, i] = self.turn[:, self.parents[i]] @ about(axis, angle)

  def _leg(self, s: str, side: str, sign: float) -> None:
    at, rest = self.at, self._rest
    thigh = rest(f"calf_{s}") - rest(f"thigh_{s}")
    shin = rest(f"foot_{s}") - rest(f"calf_{s}")
    sole = self.shape.tails[self.bones[f"foot_{s}"]] - rest(f"foot_{s}")
    hip = self._head(f"thigh_{s}")
    ankle = at[f"{side}_ankle"] + [
      0,
      rest(f"foot_{s}")[1] - _ANKLE * self.shape.height,
      0,
    ]
    to_sole = at[f"{side}_toe"] - at[f"{side}_ankle"]
    ahead = unit(to_sole * [1, 0.2, 1])
    bow = at[f"{side}_knee"] - 0.5 * (at[f"{side}_hip"] + at[f"{side}_ankle"])
    pole = 8 * (ahead + self.pelvis[..., 2]) + 3 * bow
    lengths = _distance(thigh, 0 * thigh), _distance(shin, 0 * shin)
    knee, foot = bend_limb(hip, ankle, *lengths, pole)
    front = np.array([0, 0, 1.0])
    self._put(f"thigh_{s}", frame(knee - hip, pole) @ frame(thigh, front).T)
    self._put(f"calf_{s}", frame(foot - knee, pole) @ frame(shin, front).T)
    flat = np.sqrt((to_sole[:, [0, 2]] ** 2).sum(-1))
    steep = to_sole[:, 1] / np.maximum(flat, 1e-6)
    drop = sole[1] / float(np.sqrt(sole[0] ** 2 + sole[2] ** 2))
    fall = flat * (steep - _TOE_DROP + drop)
    goal = np.stack([to_sole[:, 0], fall, to_sole[:, 2]], -1)
    self._put(
      f"foot_{s}", frame(goal, np.broadcast_to(_UP, goal.shape)) @ frame(sole, _UP).T
    )
    self._put(f"ball_{s}", self._get(f"foot_{s}"))

  def posed(self) -> Posed:
    """Returns the result."""
    rest = self.shape.heads
    shift = np.round(self.heads - turned(self.turn, rest[None]), 4)
    bend = np.zeros(self.turn.shape[:2])
    for i, parent in enumerate(self.parents):
      if parent >= 0:
        trace = (self.turn[:, i] * self.turn[:, parent]).sum((-1, -2))
        bend[:, i] = (3 - trace) / 2
    head = self.bones["head"]
    face = turned(self.turn[:, None, head], self.person.landmarks[None])
    face = face + shift[:, None, head]
    return Posed(
      self.turn.astype(np.float32),
      shift.astype(np.float32),
      np.round(self.heads, 3),
      np.round(bend, 4).astype(np.float32),
      np.round(face, 3),
      self._skeleton(),
    )

  def _skeleton(self) -> Skeleton:
    """Returns where the joints of this body really are."""
    joints = self.plan.joints.copy()
    names = {
      "pelvis": "pelvis", "chest": "spine_03", "neck": "neck_01",
      **{f"{side}_{joint}": f"{bone}_{s}"
         for s, side, _ in _SIDES
         for joint, bone in (("shoulder", "upperarm"), ("elbow", "lowerarm"),
                             ("wrist", "hand"), ("hip", "thigh"), ("knee", "calf"),
                             ("ankle", "foot"), ("toe", "ball"))},
    }  # fmt: skip
    for joint, bone in names.items():
      joints[:, _AT[joint]] = self._head(bone)
    skull = self._get("head")
    joints[:, _AT["head"]] = (
      self._head("head") + 0.05 * self.shape.height * skull[..., 1]
    )
    for s, side, _ in _SIDES:
      joints[:, _AT[f"{side}_hand"]] = self._head(f"middle_01_{s}")
    chest_facing = np.round(self.chest[..., 2], 5)
    return Skeleton(np.round(joints, 3), np.round(skull[..., 2], 5), chest_facing)


def trunk_radii(shape: Shape, person: Person) -> Float64[np.ndarray, "n 4"]:
  """Measures the trunk at heights from the hip joints to the shoulder joints.

  Returns:
    For each height: half the width, depth in front and behind, and the middle in z.
  """
  body = anatomy()
  at = dict(zip(body.bones, shape.heads, strict=True))
  low, high, rows = at["thigh_l"][1], at["upperarm_l"][1], 12
  limbs = [i for i, n in enumerate(body.bones) if n[-2:] in ("_l", "_r")]
  limbs = [i for i in limbs if not body.bones[i].startswith("clavicle")]
  on = members("body")
  trunk = on[body.weights[on][:, limbs].sum(1) < 0.3]
  p = shape.points[trunk]
  row = np.clip(np.round((p[:, 1] - low) / (high - low) * (rows - 1)), 0, rows - 1)
  table = np.zeros((rows, 4))
  for i in range(rows):
    here = p[row == i]
    middle = 0.5 * (here[:, 2].min() + here[:, 2].max())
    table[i] = (
      np.abs(here[:, 0]).max(),
      here[:, 2].max() - middle,
      middle - here[:, 2].min(),
      middle,
    )
  return table
