"""Finds where arms and legs of a picture bend, and splits them there.

Landmarks of elbows and knees lie up to a quarter of a limb beside its middle. A limb
that turns about such a point has a corner on one side, so they are moved to the middle.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float

from dabfusion_jax.people import landmarks as lm
from dabfusion_jax.people.regions import RADII
from dabfusion_jax.people.skeleton import (
  ARMS,
  FEET,
  LEGS,
  LIMBS,
  TORSO,
  TORSO_JOINTS,
  Joints,
  neck,
  trunk_length,
)

# Cosines of the angles by which a limb may be bent: so that its middle is measured, and
# so that it is split at a line.
_STRAIGHT, _FOLDED = 0.5, -0.5
# Lines across a limb, on which its middle is measured: how far apart the outer ones are
# and how far from the joint they reach, in trunks; and how many.
_ALONG, _ACROSS, _NUM_LINES = 0.1, 0.3, 7
_JOINT, _ANKLE = 0.8, 0.4  # radii of the discs around joints, relative to the piece
# Least radius of an elbow or a knee, relative to half the width of the limb there.
_BEND = 0.75
_MOST = 0.06  # trunks by which a joint is moved at most
# Parts of an upper arm at which its width is measured, and the least radius of its
# shoulder, in trunks.
_ALONG_ARM, _SHOULDER = np.linspace(0.2, 0.6, 9), 0.04
_CAP = 0.5  # sine of the angle from which on the trunk is round above a shoulder

SHOULDERS = {name: LIMBS[name][0] for name in LIMBS if "upper_arm" in name}
Regions = Mapping[str, Bool[np.ndarray, "h w"]]


def centre_joints(regions: Regions, joints: Joints, unit: float) -> Joints:
  """Returns landmarks with elbows and knees moved to the middle of the limb.

  Joints of a limb that is bent a lot or as wide as two, as in a skirt, stay, and so do
  those that lie outside it.

  Args:
    regions: the pixels of each piece, without soft edges.
    joints: of the picture.
    unit: length of the trunk.
  """
  joints = joints.copy()
  for upper, lower in (*ARMS.values(), *LEGS.values()):
    limb = [*LIMBS[upper], LIMBS[lower][1]]
    directions = _directions(joints[limb], _STRAIGHT)
    if directions is None:
      continue
    shift = _middle(regions[upper] | regions[lower], joints[limb[1]], *directions, unit)
    joints[limb[1]] += np.clip(shift, -_MOST * unit, _MOST * unit) * directions[1]
  return joints


def split_limbs(regions: Regions, joints: Joints) -> dict[str, np.ndarray]:
  """Returns regions in which arms and legs end at a straight line across the joint.

  An upper arm is wider than a forearm, and a thigh than a shin, so their outlines meet
  in a V, whose tips would stick out if the limb bends. Folded limbs keep their parts.
  """
  regions = dict(regions)
  for upper, lower in (*ARMS.values(), *LEGS.values()):
    limb = joints[[*LIMBS[upper], LIMBS[lower][1]]]
    directions = _directions(limb, _FOLDED)
    if directions is None:
      continue
    whole = regions[upper] | regions[lower]
    y, x = np.mgrid[: whole.shape[0], : whole.shape[1]] + 0.5
    along, _ = directions
    beyond = (x - limb[1, 0]) * along[0] + (y - limb[1, 1]) * along[1] > 0
    beyond &= whole
    # Not the end of a wide sleeve, which hangs on the upper arm alone.
    beyond = scipy.ndimage.binary_propagation(beyond & regions[lower], mask=beyond)
    regions |= {upper: whole & ~beyond, lower: beyond}
  return regions


def disc_radii(
  regions: Mapping[str, Bool[np.ndarray, "h w"]], joints: np.ndarray, unit: float
) -> dict[tuple[str, int], float]:
  """Returns the radius of the disc around each end of each limb, in pixels.

  An elbow or a knee is as round as the limb is wide there: what is beyond sticks out
  when it bends. A shoulder is as round as the arm is wide on its inner side: that is
  below once the arm is raised, and what is beyond would hang there.
  """
  radii = {}
  for limb, ends in LIMBS.items():
    width = RADII[limb.partition("_")[2]] * unit
    for joint in ends:
      radii[limb, joint] = (_ANKLE if joint in FEET.values() else _JOINT) * width
  firsts, lasts = zip(*LIMBS.values(), strict=True)
  for joint in set(firsts) & set(lasts):  # elbows and knees
    parts = [limb for limb, ends in LIMBS.items() if joint in ends]
    mask = np.logical_or.reduce([regions[limb] for limb in parts])
    depth = scipy.ndimage.distance_transform_edt(np.pad(mask, 1))
    x, y = np.clip(joints[joint] + 1, 0, np.array(depth.shape[::-1]) - 1).astype(int)
    reach = int(max(radii[limb, joint] for limb in parts))
    window = depth[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1]
    half = max(_BEND * float(window.max()), float(depth[y, x]))
    if half:  # else the limb is not seen
      radii |= {(limb, joint): min(radii[limb, joint], half) for limb in parts}
  for limb, joint in SHOULDERS.items():
    bone, most = joints[list(LIMBS[limb])], radii[limb, joint]
    inner = _inner_width(regions[limb], bone, outwards(joints, joint), most)
    radii[limb, joint] = max(inner, _SHOULDER * unit)
  return radii


def outwards(joints: Float[np.ndarray, "33 2"], shoulder: int) -> int:
  """Returns the sign of turns that raise an arm beside the trunk (y points down)."""
  down, aside = _down(joints), joints[shoulder] - neck(joints)
  return 1 if down[0] * aside[1] - down[1] * aside[0] > 0 else -1


def joint_discs(
  name: str,
  joints: np.ndarray,
  radii: Mapping[tuple[str, int], float],
  shape: tuple[int, int],
) -> Iterator[tuple[int, Bool[np.ndarray, "h w"]]]:
  """Yields the joints of a piece, and the discs in which it overlaps the next.

  Above a shoulder, the disc of the trunk is as wide as an arm may be: that is seen when
  the arm turns inwards.
  """
  y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32) + 0.5
  for limb, (first, last) in LIMBS.items():
    chosen = {limb: (first, last)}.get(name, ())
    if name == TORSO and first in TORSO_JOINTS:
      chosen = (first,)
    for joint in chosen:
      dx, dy = x - joints[joint][0], y - joints[joint][1]
      reach = np.hypot(dx, dy)
      disc = reach < radii[limb, joint]
      if name == TORSO and limb in SHOULDERS:
        down = _down(joints) / max(np.hypot(*_down(joints)), 1e-6)
        above = -(dx * down[0] + dy * down[1]) > _CAP * reach
        disc |= above & (reach < _JOINT * RADII["upper_arm"] * trunk_length(joints))
      yield joint, disc


def meeting(
  name: str, joint: int, regions: Mapping[str, Bool[np.ndarray, "h w"]]
) -> Bool[np.ndarray, "h w"]:
  """Returns the pixels of all pieces that meet at a joint of a piece."""
  at_joint = [limb for limb, ends in LIMBS.items() if joint in ends]
  at_joint += [TORSO] if joint in TORSO_JOINTS else []
  at_joint += [foot for foot, ankle in FEET.items() if joint == ankle]
  return np.logical_or.reduce([regions[other] for other in {name, *at_joint}])


def _directions(
  limb: Float[np.ndarray, "3 2"], least: float
) -> tuple[Float[np.ndarray, "2"], Float[np.ndarray, "2"]] | None:
  """Returns the directions along and across a limb at its middle joint.

  None if the cosine of the angle by which it is bent is less than `least`, or if a
  bone has no length.
  """
  bones = np.diff(limb, axis=0)
  bones /= np.maximum(np.hypot(*bones.T)[:, None], 1e-6)
  if not bones.any(1).all() or bones[0] @ bones[1] < least:
    return None
  along = bones.sum(0) / np.hypot(*bones.sum(0))
  return along, np.array([-along[1], along[0]])


def _middle(
  limb: Bool[np.ndarray, "h w"],
  joint: Float[np.ndarray, "2"],
  along: Float[np.ndarray, "2"],
  across: Float[np.ndarray, "2"],
  unit: float,
) -> float:
  """Returns how far the middle of a limb lies beside a joint; 0 if unknown."""
  steps = np.arange(-round(_ACROSS * unit), round(_ACROSS * unit) + 1)
  offsets = np.linspace(-_ALONG / 2, _ALONG / 2, _NUM_LINES) * unit
  middles = []
  for offset in offsets:
    x, y = (joint + offset * along + steps[:, None] * across).T
    line = scipy.ndimage.map_coordinates(limb, (y - 0.5, x - 0.5), order=0, cval=0)
    labels, _ = scipy.ndimage.label(line)
    label = labels[len(steps) // 2]
    run = np.flatnonzero(labels == label)
    if label and run[0] > 0 and run[-1] < len(steps) - 1:
      middles.append((steps[run[0]] + steps[run[-1]]) / 2)
  return float(np.median(middles)) if middles else 0.0


def _inner_width(
  arm: Bool[np.ndarray, "h w"],
  bone: Float[np.ndarray, "2 2"],
  raising: int,
  most: float,
) -> float:
  """Returns how far an arm reaches from its bone to the trunk, in pixels.

  Args:
    arm: pixels of the upper arm.
    bone: its joints.
    raising: the sign of turns that raise it.
    most: beyond which nothing is looked at, and what is returned if nothing is known.
  """
  along = bone[1] - bone[0]
  across = raising * np.array([along[1], -along[0]]) / max(np.hypot(*along), 1e-6)
  steps = np.arange(most)
  starts = bone[0] + _ALONG_ARM[:, None, None] * along
  x, y = np.moveaxis(starts + steps[:, None] * across, -1, 0)
  lines = scipy.ndimage.map_coordinates(arm, (y - 0.5, x - 0.5), order=0, cval=0)
  lines = lines[lines[:, 0]]
  reach = np.where(lines.all(1), most, lines.argmin(1))
  return float(np.median(reach)) if len(reach) else most


def _down(joints: Float[np.ndarray, "33 2"]) -> Float[np.ndarray, "2"]:
  """Returns the vector from the neck to the middle of the hips."""
  return joints[[lm.LEFT_HIP, lm.RIGHT_HIP]].mean(0) - neck(joints)
