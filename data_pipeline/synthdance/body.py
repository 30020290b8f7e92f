"""Defines the dancers, and turns their poses into joints in space.

World coordinates are centimetres, y up, with the floor at y = 0 and the middle of the
studio at x = z = 0. A dancer who faces camera c01 looks along +z, with the left hand at
+x.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from data_pipeline.synthdance.choreography import Poses, seed

JOINTS = (
  "pelvis", "chest", "neck", "head", "left_shoulder", "right_shoulder", "left_elbow",
  "right_elbow", "left_wrist", "right_wrist", "left_hand", "right_hand", "left_hip",
  "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle", "left_toe",
  "right_toe",
)  # fmt: skip
HEEL_RISE = 0.055  # of a foot without weight, in body heights
STRETCH = 0.9985  # longest leg, as a fraction of thigh + shin: a knee of 174 degrees

SKINS = (
  (236, 190, 162),
  (219, 168, 134),
  (196, 145, 112),
  (148, 103, 77),
  (104, 72, 54),
)
HAIRS = ((24, 20, 20), (46, 30, 22), (112, 78, 44), (84, 80, 84), (142, 58, 40))
CLOTHS = (
  (28, 28, 32), (44, 46, 58), (40, 52, 96), (112, 34, 40), (150, 132, 108),
  (172, 172, 170), (50, 82, 60), (168, 96, 56), (70, 104, 152), (188, 160, 76),
  (96, 66, 104), (58, 112, 114),
)  # fmt: skip
SHOES = ((24, 24, 24), (228, 226, 220), (150, 34, 34), (70, 70, 80))


@dataclasses.dataclass(frozen=True)
class Dancer:
  """Build and clothes; colours are 8-bit RGB, proportions are around 1."""

  height: float  # cm
  girth: float
  legs: float
  shoulders: float
  skin: tuple[int, int, int]
  hair: tuple[int, int, int]
  hat: tuple[int, int, int] | None
  long_hair: bool
  top: tuple[int, int, int]
  trousers: tuple[int, int, int]
  shoes: tuple[int, int, int]
  long_sleeves: bool
  long_trousers: bool
  pattern: str  # of the top: "plain", "stripes" or "logo"
  trim: tuple[int, int, int]  # colour of the pattern


def dancer(name: str) -> Dancer:
  """Returns the dancer called "d01" to "d30"; always the same one."""
  rng = np.random.default_rng(seed("dancer", name))

  def pick(items: Sequence[Any]) -> Any:
    return items[int(rng.integers(len(items)))]

  def draw(middle: float, spread: float) -> float:  # bell-shaped, within 3 spreads
    return float(middle + spread * rng.uniform(-1, 1, 3).sum())

  top, trousers = pick(CLOTHS), pick(CLOTHS)
  trim = max(CLOTHS, key=lambda c: abs(sum(c) - sum(top)))
  return Dancer(
    height=draw(168.0, 6.5), girth=draw(1.0, 0.06), legs=draw(1.0, 0.012),
    shoulders=draw(1.0, 0.035), skin=pick(SKINS), hair=pick(HAIRS),
    hat=pick(CLOTHS) if rng.random() < 0.25 else None,
    long_hair=bool(rng.random() < 0.4), top=top, trousers=trousers, shoes=pick(SHOES),
    long_sleeves=bool(rng.random() < 0.4), long_trousers=bool(rng.random() < 0.75),
    pattern=pick(("plain", "stripes", "logo")), trim=trim,
  )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Skeleton:
  """Joints and orientations of a dancer over time."""

  joints: Float64[np.ndarray, "t 20 3"]  # cm, in the order of JOINTS
  facing: Float64[np.ndarray, "t 3"]  # unit vector out of the face
  chest_facing: Float64[np.ndarray, "t 3"]  # unit vector out of the chest


def _turn(axis: str, angle: np.ndarray) -> np.ndarray:
  """Returns rotation matrices [t, 3, 3] about one axis."""
  c, s = np.cos(angle), np.sin(angle)
  i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
  matrix = np.zeros(angle.shape + (3, 3))
  matrix[..., 3 - i - j, 3 - i - j] = 1.0
  matrix[..., i, i] = matrix[..., j, j] = c
  matrix[..., i, j], matrix[..., j, i] = -s, s
  return matrix


def _apply(
  matrix: np.ndarray, vector: np.ndarray | tuple[float | int, ...]
) -> np.ndarray:
  return (matrix * np.asarray(vector, np.float64)[..., None, :]).sum(-1)


def _length(vector: np.ndarray) -> np.ndarray:
  return np.sqrt((vector * vector).sum(-1, keepdims=True))


def bend_limb(
  start: np.ndarray, end: np.ndarray, upper: float, lower: float, pole: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Solves two-bone inverse kinematics.

  Args:
    start: position of the first joint, [t, 3].
    end: wanted position of the last joint.
    upper, lower: lengths of the bones.
    pole: direction towards which the middle joint bends.

  Returns:
    The positions of the middle joint, and of the last one as far as the bones reach.
  """
  direction = end - start
  distance = _length(direction)
  direction = direction / np.maximum(distance, 1e-9)
  reach = np.clip(distance, 0.3 * (upper + lower), STRETCH * (upper + lower))
  along = (upper**2 - lower**2 + reach**2) / (2 * reach)
  across = np.sqrt(np.maximum(upper**2 - along**2, 0.0))
  side = pole - direction * (direction * pole).sum(-1, keepdims=True)
  side = side / np.maximum(_length(side), 1e-9)
  return start + direction * along + side * across, start + direction * reach


def _soft_min(a: np.ndarray, b: np.ndarray, band: float) -> np.ndarray:
  blend = np.maximum(band - np.abs(a - b), 0.0) / band
  return np.minimum(a, b) - blend * blend * band * 0.25


def pose_skeleton(poses: Poses, dancer: Dancer) -> Skeleton:
  """Puts a dancer into poses.

  The pelvis is above the point that carries the weight, as high as the legs allow minus
  the crouch, so standing legs are straight. A foot without weight rises on its toes if
  its leg is too short; a foot with weight stays where it is.
  """
  size = dancer.height
  ankle = 0.045 * size
  thigh, shin = 0.242 * size * dancer.legs, 0.243 * size * dancer.legs
  trunk = 0.288 * size * (2.0 - dancer.legs)
  upper_arm, forearm = 0.165 * size, 0.145 * size
  hip, shoulder = 0.052 * size, 0.105 * size * dancer.shoulders
  torso = poses.torso
  sway_side, sway_front, crouch, yaw, lean_side, lean_front, twist, head_yaw, nod = (
    torso.T
  )
  num = len(torso)
  joints = np.zeros((num, len(JOINTS), 3))
  at = {name: i for i, name in enumerate(JOINTS)}
  body = _turn("y", yaw)

  feet = np.zeros((num, 2, 3))
  feet[..., 0], feet[..., 2] = poses.feet[..., 0] * size, poses.feet[..., 1] * size
  feet[..., 1] = ankle + poses.lift * size
  pelvis = (feet * poses.load[..., None]).sum(1)
  pelvis = pelvis + _apply(body, np.stack([sway_side, 0 * yaw, sway_front], -1)) * size
  signs = (1.0, -1.0)
  hip_offsets = [_apply(body, (s * hip, -0.01 * size, 0.0)) for s in signs]
  leg = STRETCH * (thigh + shin)
  heights = []
  for s in (0, 1):
    flat = (pelvis + hip_offsets[s] - feet[:, s])[:, ::2]
    reach = np.sqrt(np.maximum(leg**2 - (flat**2).sum(-1), (0.4 * leg) ** 2))
    rise = HEEL_RISE * size * np.clip(1 - poses.load[:, s] / 0.3, 0, 1)
    # A foot in the air does not limit the height of the body, unless both are.
    relief = 0.3 * size * poses.free[:, s] * (1 - poses.free[:, 1 - s])
    heights.append(feet[:, s, 1] + reach + rise + relief + 0.01 * size)
  pelvis[:, 1] = _soft_min(heights[0], heights[1], 0.01 * size) - crouch * size
  joints[:, at["pelvis"]] = pelvis

  spine = body @ _turn("z", lean_side) @ _turn("x", lean_front)
  chest = spine @ _turn("y", twist)
  head = (
    body @ _turn("y", head_yaw + 0.5 * twist) @ _turn("z", 0.4 * lean_side)
    @ _turn("x", 0.3 * lean_front + nod)
  )  # fmt: skip
  joints[:, at["chest"]] = pelvis + _apply(spine, (0, 0.78 * trunk, 0))
  joints[:, at["neck"]] = pelvis + _apply(spine, (0, 1.05 * trunk, 0))
  joints[:, at["head"]] = joints[:, at["neck"]] + _apply(
    head, (0, 0.078 * size, 0.014 * size)
  )
  for s, side in enumerate(("left", "right")):
    sign = signs[s]
    hip_at = pelvis + hip_offsets[s]
    foot = feet[:, s].copy()
    # If the foot is out of reach, it rises on its toes as far as the leg needs.
    flat = ((hip_at - foot)[:, ::2] ** 2).sum(-1)
    lowest = hip_at[:, 1] - np.sqrt(np.maximum(leg**2 - flat, 0.0))
    heel = np.maximum(lowest - foot[:, 1], 0.0)
    foot[:, 1] += np.where(poses.planted[:, s], 0.0, heel)
    foot_turn = _turn("y", poses.feet_yaw[:, s])
    forward = _apply(foot_turn, (0, 0, 1.0))
    pole = forward + _apply(body, (0, 0, 1.0))
    knee, foot = bend_limb(hip_at, foot, thigh, shin, pole)
    joints[:, at[f"{side}_hip"]] = hip_at
    joints[:, at[f"{side}_knee"]] = knee
    joints[:, at[f"{side}_ankle"]] = foot
    toe = foot + forward * 0.105 * size
    sole = np.maximum(foot[:, 1] - ankle, 0.0)  # toes stay down when the heel rises
    toe[:, 1] = 0.016 * size + np.maximum(sole - 0.055 * size, 0.3 * poses.lift[:, s])
    joints[:, at[f"{side}_toe"]] = toe

    shoulder_at = pelvis + _apply(chest, (sign * shoulder, 0.93 * trunk, 0.0))
    target = shoulder_at + _apply(chest, poses.hands[:, s]) * (upper_arm + forearm)
    target = _outside(target, pelvis, spine, trunk, 0.085 * size)
    pole = _apply(chest, (sign * 0.8, -0.55, -0.45))
    elbow, wrist = bend_limb(shoulder_at, target, upper_arm, forearm, pole)
    joints[:, at[f"{side}_shoulder"]] = shoulder_at
    joints[:, at[f"{side}_elbow"]] = elbow
    joints[:, at[f"{side}_wrist"]] = wrist
    joints[:, at[f"{side}_hand"]] = wrist + (wrist - elbow) * (0.06 * size / forearm)
  # Rounded, so that a sine that differs in its last bit gives the same pictures.
  joints = np.round(joints, 3)
  facing = np.round(_apply(head, (0, 0, 1.0)), 5)
  return Skeleton(joints, facing, np.round(_apply(chest, (0, 0, 1.0)), 5))


def _outside(
  point: np.ndarray, pelvis: np.ndarray, spine: np.ndarray, trunk: float, radius: float
) -> np.ndarray:
  """Moves hands that would be inside the trunk to its front."""
  up, front = spine[..., :, 1], spine[..., :, 2]
  offset = point - pelvis
  height = (offset * up).sum(-1, keepdims=True)
  depth = (offset * front).sum(-1, keepdims=True)
  side = offset - height * up - depth * front
  wide = np.clip(1 - (_length(side) / (1.7 * radius)) ** 2, 0.0, 1.0)
  inside = (height > -0.1 * trunk) & (height < 1.05 * trunk)
  wanted = radius * 1.45 * np.sqrt(wide)
  push = np.where(inside & (depth > -0.5 * radius), np.maximum(wanted - depth, 0), 0.0)
  return point + front * push


def coco_joints(skeleton: Skeleton) -> Float64[np.ndarray, "t 17 3"]:
  """Returns the 17 keypoints of COCO: nose, eyes, ears, then shoulders to ankles."""
  joints, facing = skeleton.joints, skeleton.facing
  head = joints[:, 3]
  up = head - joints[:, 2]
  up = up / _length(up)
  left = np.cross(up, facing)
  face = [
    head + 9.5 * facing,
    head + 8 * facing + 3 * up + 3.2 * left,
    head + 8 * facing + 3 * up - 3.2 * left,
    head + 7.8 * left,
    head - 7.8 * left,
  ]
  limbs = [joints[:, i] for i in (4, 5, 6, 7, 8, 9, 12, 13, 14, 15, 16, 17)]
  return np.round(np.stack(face + limbs, 1), 3)
