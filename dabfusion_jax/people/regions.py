"""Which pixels of a person belong to which piece.

Outlines around the bones tell roughly; where two pieces of different colours meet, the
colours tell exactly.
"""

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float32, UInt8

from dabfusion_jax.people import landmarks as lm
from dabfusion_jax.people.colours import log_likelihood
from dabfusion_jax.people.guided_filter import guided_filter
from dabfusion_jax.people.skeleton import (
  FEET,
  HEAD,
  LIMBS,
  TORSO,
  neck,
  trunk_length,
)

# Half the width of a piece, relative to the trunk from the hips to the neck.
RADII = {"upper_arm": 0.15, "forearm": 0.13, "thigh": 0.24, "shin": 0.17}
_HEAD_RADIUS, _FOOT_RADIUS, _TORSO_RADIUS = 0.36, 0.12, 0.25
_HAND_RADIUS = 0.15
_BELOW_ANKLE = 0.3  # of its distance, that of a pixel which only a foot can hold
# The same of what is sure to be neck and skull; and the width of what is sure to be
# trunk, relative to the distance of the joints.
_NECK_RADIUS, _SKULL_RADIUS, _CORE_WIDTH = 0.13, 0.18, 1.25
# Relative to the radius of an arm: up to the first, pixels show the arm's colours; up
# to the second they are the arm's whatever their colour. Beside hands there is cloth.
_CORE, _SURE, _LOWER_CORE, _LOWER_SURE = 0.5, 0.5, 0.3, 0.4  # upper arms; forearms
# The edge of an arm if colours do not tell, and that beyond which nothing is the arm's.
_ARM_LIMIT, _ARM_EDGE = 0.95, 1.4
_BITS = 2.0  # radii of an arm, up to which bits of its sleeve may be
_HAIR_LIMIT = 2.6  # radii of the head, up to which hair may hang
# Relative to the trunk: over which colours are taken together, and the radius of the
# filter that smooths outlines of arms; and the variance below which that smooths.
_AROUND, _EDGE_RADIUS, _EDGE_EPSILON = 0.05, 0.035, 1e-3
# Weight of distances beside logarithms of likelihoods; by how much farther than an arm,
# which is in front, another piece counts; and what tells hair from clothes.
_PRIOR, _IN_FRONT, _CLEAR = 6.0, 1.5, 2.0
_CLOTHES = 0.25  # of what is near a head, at least so much is clothes


def outlines(
  joints: np.ndarray, unit: float, shape: tuple[int, int], *, is_alone: bool = True
) -> dict[str, Float32[np.ndarray, "h w"]]:
  """Returns the distance of each pixel from each piece; 1 at its outline.

  Args:
    joints: of a person.
    unit: length of the trunk.
    shape: height and width of the picture.
    is_alone: whether all below an ankle is a foot of theirs, and not somebody else's.
  """
  y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32) + 0.5
  shapes = {}
  for name, (first, last) in LIMBS.items():
    start, end = joints[first], joints[last]
    radius = RADII[name.partition("_")[2]] * unit
    shapes[name] = _distance(x, y, start, end) / radius
    if "forearm" in name:
      tip = lm.fingertips(joints, name.partition("_")[0])
      hand = _distance(x, y, end, tip) / (_HAND_RADIUS * unit)
      shapes[name] = np.minimum(shapes[name], hand)
  for name, ankle in FEET.items():
    toe = joints[lm.LEFT_TOE if name == "left_foot" else lm.RIGHT_TOE]
    distance = _distance(x, y, joints[ankle], toe) / (_FOOT_RADIUS * unit)
    below = is_alone & (y > joints[ankle][1])
    shapes[name] = np.where(below, _BELOW_ANKLE * distance, distance)
  ears = (joints[lm.LEFT_EAR] + joints[lm.RIGHT_EAR]) / 2
  shapes[HEAD] = _distance(x, y, ears, ears + 0.6 * (ears - neck(joints))) / (
    _HEAD_RADIUS * unit
  )
  corners = joints[[lm.LEFT_SHOULDER, lm.RIGHT_SHOULDER, lm.RIGHT_HIP, lm.LEFT_HIP]]
  outline = [
    _distance(x, y, corners[i], corners[(i + 1) % 4]) / (_TORSO_RADIUS * unit)
    for i in range(4)
  ]
  shapes[TORSO] = np.where(_inside(x, y, corners), 0, np.min(outline, 0))
  return shapes


def cores(
  joints: np.ndarray, unit: float, body: Bool[np.ndarray, "h w"]
) -> dict[str, Bool[np.ndarray, "h w"]]:
  """Returns what belongs to the trunk, and to head and neck, whatever covers it.

  Where background is seen beside the trunk, nothing beyond belongs to it.

  Args:
    joints: of the person.
    unit: length of the trunk.
    body: the person.
  """
  y, x = np.mgrid[: body.shape[0], : body.shape[1]].astype(np.float32) + 0.5
  corners = joints[[lm.LEFT_SHOULDER, lm.RIGHT_SHOULDER, lm.RIGHT_HIP, lm.LEFT_HIP]]
  middles = np.repeat(corners.reshape(2, 2, 2).mean(1), 2, axis=0)
  trunk = _inside(x, y, middles + _CORE_WIDTH * (corners - middles))
  beyond = _beyond_background(joints, body)
  ears = joints[[lm.LEFT_EAR, lm.RIGHT_EAR]].mean(0)
  throat = _distance(x, y, ears, middles[0]) < _NECK_RADIUS * unit
  skull = _distance(x, y, ears, ears) < _SKULL_RADIUS * unit
  return {TORSO: trunk & ~beyond, HEAD: (throat | skull) & ~trunk}


def _beyond_background(
  joints: np.ndarray, body: Bool[np.ndarray, "h w"]
) -> Bool[np.ndarray, "h w"]:
  """Returns between which pixels and the middle of the trunk background is seen."""
  y, x = np.mgrid[: body.shape[0], : body.shape[1]].astype(np.float32) + 0.5
  hips = joints[[lm.LEFT_HIP, lm.RIGHT_HIP]].mean(0)
  top, bottom = sorted((neck(joints), hips), key=lambda point: point[1])
  middle = np.interp(y[:, :1], (top[1], bottom[1]), (top[0], bottom[0]))
  beyond = np.logical_or.accumulate(~body & (x >= middle), axis=1)
  before = (~body & (x < middle))[:, ::-1]
  return beyond | np.logical_or.accumulate(before, axis=1)[:, ::-1]


def assign(
  shapes: dict[str, np.ndarray],
  body: Bool[np.ndarray, "h w"],
  picture: UInt8[np.ndarray, "h w 3"],
  joints: np.ndarray,
) -> dict[str, Bool[np.ndarray, "h w"]]:
  """Gives each pixel of the body to one piece: arms first, then the nearest.

  Hair and neck go with the head.

  Args:
    shapes: of `outlines`.
    body: the person.
    picture: whose colours decide where outlines do not.
    joints: of the person.
  """
  names = [name for name in shapes if "arm" not in name]
  distance = np.stack([shapes[name] for name in names])
  nearest = distance.argmin(0)
  arms = [name for name in shapes if "arm" in name]
  from_arms = np.stack([shapes[name] for name in arms])
  nearest_arm = from_arms.argmin(0)
  colours = picture.astype(np.float32)
  is_lower = np.array(["forearm" in name for name in arms])[nearest_arm]
  unit = trunk_length(joints)
  is_arm = _find_arms(from_arms.min(0), distance.min(0), is_lower, body, colours, unit)
  is_left = np.array(["left" in name for name in arms])[nearest_arm]
  is_arm = largest_part(is_arm & is_left) | largest_part(is_arm & ~is_left)
  regions = {name: (nearest == i) & body & ~is_arm for i, name in enumerate(names)}
  # Bits of a sleeve beyond the arm's outline, which the arm has cut off from the trunk.
  near_arm = ~is_lower & (from_arms.min(0) < _BITS)
  bits = _parts_outside(regions[TORSO], (shapes[TORSO] > 0) & near_arm)
  # And its loose rim, where background is seen between that and the trunk.
  bits |= regions[TORSO] & near_arm & _beyond_background(joints, body)
  regions[TORSO] &= ~bits
  is_arm |= bits
  of_arms = {name: is_arm & (nearest_arm == i) for i, name in enumerate(arms)}
  for side in ("left", "right"):  # bits of a sleeve that are nearer to the forearm
    upper, lower = f"{side}_upper_arm", f"{side}_forearm"
    whole = largest_part(of_arms[lower])
    of_arms[upper] |= of_arms[lower] & ~whole
    of_arms[lower] = whole
  regions |= of_arms
  collar = _find_collar(regions, shapes, colours, unit)
  regions |= {HEAD: regions[HEAD] & ~collar, TORSO: regions[TORSO] | collar}
  hair = _find_hair(regions, shapes, colours, unit)
  return {
    name: region | hair if name == HEAD else region & ~hair
    for name, region in regions.items()
  }


def _find_arms(
  from_arm: Float32[np.ndarray, "h w"],
  from_rest: Float32[np.ndarray, "h w"],
  is_lower: Bool[np.ndarray, "h w"],
  body: Bool[np.ndarray, "h w"],
  colours: Float32[np.ndarray, "h w 3"],
  unit: float,
) -> Bool[np.ndarray, "h w"]:
  """Returns the pixels of both arms.

  Where an arm may end, colours and distances decide together: whether a pixel's colour
  is that of the arm's core nearby or that of the rest, and whether it is nearer to the
  arm or to another piece.

  Args:
    from_arm: distance from the nearest arm.
    from_rest: distance from the nearest other piece.
    is_lower: whether the nearest arm is a forearm.
    body: the person.
    colours: of the picture.
    unit: length of the trunk.
  """
  core = (from_arm < np.where(is_lower, _LOWER_CORE, _CORE)) & body
  sure = (from_arm < np.where(is_lower, _LOWER_SURE, _SURE)) & body
  rest = (from_arm > _ARM_EDGE) & body
  score = _PRIOR * (np.minimum(_IN_FRONT * from_rest, _ARM_LIMIT) - from_arm)
  if core.any() and rest.any():
    score += _suits(colours, core, rest, unit)
  # Sleeves and collars lie near upper arms, and look like what they lie on.
  is_arm = (score > 0) & (from_arm <= np.where(is_lower, _ARM_EDGE, _ARM_LIMIT))
  smooth = guided_filter(
    (is_arm | sure).astype(np.float32),
    colours / np.float32(255),
    max(1, round(_EDGE_RADIUS * unit)),
    _EDGE_EPSILON,
  )
  return ((smooth > 0.5) | sure) & body


def _find_hair(
  regions: dict[str, np.ndarray],
  shapes: dict[str, np.ndarray],
  colours: Float32[np.ndarray, "h w 3"],
  unit: float,
) -> Bool[np.ndarray, "h w"]:
  """Returns what hangs down from the head over trunk and shoulders, and the neck.

  It is nothing if the clothes there have the colours of the head, such as a grey shirt
  below grey hair.
  """
  head = regions[HEAD]
  near = _below_head(regions) & (shapes[HEAD] < _HAIR_LIMIT)
  suits = suits_head(regions, shapes, colours, unit)
  if near.any() and np.quantile(suits[near], _CLOTHES) > -_CLEAR:
    return np.zeros_like(near)
  hair = near & (suits > _CLEAR)
  hair = scipy.ndimage.median_filter(hair | head, 5) & near
  return largest_part(hair | head) & near


def suits_head(
  regions: dict[str, np.ndarray],
  shapes: dict[str, np.ndarray],
  colours: Float32[np.ndarray, "h w 3"],
  unit: float,
) -> Float32[np.ndarray, "h w"]:
  """Returns how much better colours suit the head than the clothes below it.

  The unit is the natural logarithm of a likelihood; it is 0 if either is not seen.
  """
  head = regions[HEAD]
  rest = _below_head(regions) & (shapes[HEAD] >= _HAIR_LIMIT)
  if not (head.any() and rest.any()):
    return np.zeros(head.shape, np.float32)
  return _suits(colours, head, rest, unit)


def _below_head(regions: dict[str, np.ndarray]) -> Bool[np.ndarray, "h w"]:
  return regions[TORSO] | regions["left_upper_arm"] | regions["right_upper_arm"]


def _find_collar(
  regions: dict[str, np.ndarray],
  shapes: dict[str, np.ndarray],
  colours: Float32[np.ndarray, "h w 3"],
  unit: float,
) -> Bool[np.ndarray, "h w"]:
  """Returns the pixels of a collar that are nearer to the head than to the trunk."""
  around = regions[HEAD] & (shapes[HEAD] > 1)
  inner, rest = regions[HEAD] & ~around, regions[TORSO]
  if not (inner.any() and rest.any() and around.any()):
    return np.zeros_like(inner)
  collar = around & (_suits(colours, inner, rest, unit) < -_CLEAR)
  return scipy.ndimage.median_filter(collar | rest, 5) & around


def _suits(
  colours: Float32[np.ndarray, "h w 3"],
  first: Bool[np.ndarray, "h w"],
  second: Bool[np.ndarray, "h w"],
  unit: float,
) -> Float32[np.ndarray, "h w"]:
  """Returns how much better colours suit `first` than `second`.

  The unit is the natural logarithm of a likelihood, smoothed over neighbours.
  """
  around = _AROUND * unit
  ratio = log_likelihood(colours, first, around)
  ratio -= log_likelihood(colours, second, around)
  return scipy.ndimage.gaussian_filter(ratio, 1.0)


def _parts_outside(
  mask: Bool[np.ndarray, "h w"], outside: Bool[np.ndarray, "h w"]
) -> Bool[np.ndarray, "h w"]:
  """Returns the connected parts of a mask, but the largest, that are mostly outside."""
  labels, count = scipy.ndimage.label(mask & ~largest_part(mask))
  if not count:
    return np.zeros_like(mask)
  share = scipy.ndimage.mean(outside, labels, np.arange(1, count + 1))
  return np.r_[False, share > 0.5][labels]


def largest_part(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
  """Returns the largest connected part of a mask: specks of its colour are no arm."""
  labels, count = scipy.ndimage.label(mask)
  if not count:
    return mask
  return labels == np.bincount(labels[mask]).argmax()


def _distance(x, y, start: np.ndarray, end: np.ndarray) -> Float32[np.ndarray, "h w"]:
  """Returns the distance of pixels from a line between two points."""
  along = end - start
  square = max(float(along @ along), 1e-6)
  share = ((x - start[0]) * along[0] + (y - start[1]) * along[1]) / square
  share = np.clip(share, 0, 1)
  distance = np.hypot(x - start[0] - share * along[0], y - start[1] - share * along[1])
  return distance.astype(np.float32)


def _inside(x, y, corners: np.ndarray) -> Bool[np.ndarray, "h w"]:
  """Returns which pixels lie in a convex polygon, whichever way round it is given."""
  sides = []
  for i in range(len(corners)):
    start, end = corners[i], corners[(i + 1) % len(corners)]
    along = end - start
    sides.append((x - start[0]) * along[1] - (y - start[1]) * along[0])
  sides = np.stack(sides)
  return (sides >= 0).all(0) | (sides <= 0).all(0)
