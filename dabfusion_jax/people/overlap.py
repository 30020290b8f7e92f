"""Finds which of two overlapping limbs is in front, and what it hides of the other.

Outlines around bones alone would split limbs that overlap along the middle between
their bones, as in crossed legs or folded arms.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float, Shaped, UInt8

from dabfusion_jax.people.colours import log_likelihood
from dabfusion_jax.people.landmarks import Depth
from dabfusion_jax.people.regions import largest_part
from dabfusion_jax.people.skeleton import (
  ARMS,
  FEET,
  HEAD,
  LEGS,
  LIMBS,
  TORSO,
  Joints,
  trunk_length,
)

# Trunks by which a limb is nearer to the camera than what it hides, at least.
_BEFORE = 0.25
_CORE = 0.5  # of its outline, within which a limb is hidden if it is at all
# Half the width of a limb is measured in so many parts of its length, and lies between
# these shares of that of its outline; and the share of pixels that are within it.
_NUM_PARTS, _WIDTHS, _HELD = 4, (0.5, 1.0), 0.9
_SCRAP = 0.25  # of a limb, so much at least is no edge of the one in front
# Of the trunk away from an arm, so much at most looks unlike the trunk; and of what is
# near the bone of a forearm, so much at least does, if it is bare.
_UNLIKE, _BARE = 0.05, 0.5
# Radii of a forearm, beyond which there are no colours of its own; and trunks over
# which colours are taken together.
_AWAY, _AROUND = 1.4, 0.25

Regions = Mapping[str, Bool[np.ndarray, "h w"]]


def drawing_order(depth: Depth) -> tuple[str, ...]:
  """Returns all pieces from the back to the front.

  Arms are before the trunk. Of two legs, upper arms or forearms the nearer one, by the
  landmarks at its ends, is in front; the left one if they are as near.
  """
  ends = lambda parts: depth[[LIMBS[part][1] for part in parts]].sum()
  order = []
  for side in sorted(("right", "left"), key=lambda side: -ends(LEGS[side])):
    order += [f"{side}_foot", *reversed(LEGS[side])]
  order += [TORSO, HEAD]
  for pair in zip(ARMS["right"], ARMS["left"], strict=True):
    order += sorted(pair, key=lambda part: -ends([part]))
  return tuple(order)


def layer_limbs(
  regions: Regions,
  shapes: Mapping[str, np.ndarray],
  joints: Joints,
  depth: Depth,
  order: Sequence[str],
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
  """Returns the pixels of each piece, and those that limbs have behind other limbs.

  Args:
    regions: the pixels of each piece, those of limbs by the nearest bone.
    shapes: the distance of each pixel from each piece; 1 at its outline.
    joints: of the picture.
    depth: of the landmarks.
    order: of the pieces, from the back to the front.
  """
  least = _BEFORE * trunk_length(joints)
  layered, hidden = dict(regions), {}
  for limbs, feet in ((LEGS, FEET), (ARMS, {})):
    names = [*feet, *(part for parts in limbs.values() for part in parts)]
    names.sort(key=order.index)
    whole = np.logical_or.reduce([regions[name] for name in names])
    within = {name: np.zeros_like(whole) for name in names}  # feet take no pixels
    depths = {foot: np.full(whole.shape, depth[ankle]) for foot, ankle in feet.items()}
    for name in (name for name in names if name not in feet):
      first, last = LIMBS[name]
      along, side = _place(joints[[first, last]], whole.shape)
      width = _width(along, side, shapes[name], regions[name])
      within[name] = whole & (shapes[name] < width)
      share = np.clip(along, 0, 1)
      depths[name] = depth[first] + share * (depth[last] - depth[first])
    own = [regions[name] for name in names]
    owner = np.select(own, range(len(names)))
    nearest = np.select(own, [depths[name] for name in names])
    distance = np.select(own, [shapes[name] for name in names])
    for i, name in enumerate(names):  # those in front last
      before = within[name] & (depths[name] < nearest - least)
      # Beside one another, not before one another, they end between their bones.
      before &= _reaching(before, distance < _CORE)
      owner = np.where(before, i, owner)
      nearest = np.where(before, depths[name], nearest)
      distance = np.where(before, shapes[name], distance)
    for name in sorted(names, key=lambda name: name in feet):  # feet after their shins
      left = whole & (owner == names.index(name))
      lost = regions[name] & ~left
      if name in feet:
        shin = names.index(LEGS[name.partition("_")[0]][-1])
        scraps = _apart_from(left, owner == shin)
      else:
        scraps = _small_parts(left, _SCRAP * regions[name].sum())
        # What hangs on by nothing, not even behind the limb in front.
        scraps |= left & ~largest_part(left | within[name] & lost)
      owner, nearest = (_continued(x, scraps, lost) for x in (owner, nearest))
    for i, name in enumerate(names):
      layered[name] = whole & (owner == i)
      behind = (owner > i) & (depths[name] > nearest + least)
      hidden[name] = within[name] & behind
  return layered, hidden


def without_clothes(
  regions: Regions,
  shapes: Mapping[str, np.ndarray],
  joints: Joints,
  picture: UInt8[np.ndarray, "h w 3"],
) -> dict[str, np.ndarray]:
  """Returns regions in which bare forearms of folded arms have no pixels of clothes.

  Where a forearm lies before its own sleeve, or beside the chest, both are near its
  bone, but only one looks like the trunk. A forearm that does so itself has a sleeve.

  Args:
    regions: the pixels of each piece.
    shapes: the distance of each pixel from each piece; 1 at its outline.
    joints: of the picture.
    picture: of the person.
  """
  regions, around = dict(regions), _AROUND * trunk_length(joints)
  colours = picture.astype(np.float32)
  for upper, lower in ARMS.values():
    bones = np.diff(joints[[*LIMBS[upper], LIMBS[lower][1]]], axis=0)
    own, trunk = regions[lower], regions[TORSO] & (shapes[lower] > _AWAY)
    along, _ = _place(joints[list(LIMBS[lower])], own.shape)
    core = own & (shapes[lower] < _CORE) & (along < 1)  # not the hand
    if bones[0] @ bones[1] > 0 or not (core.any() and trunk.any()):
      continue
    as_trunk = log_likelihood(colours, trunk, around)
    unlike = as_trunk < np.quantile(as_trunk[trunk], _UNLIKE)
    bare = largest_part(scipy.ndimage.median_filter(own & unlike, 5) & own)
    if unlike[core].mean() < _BARE or not bare.any():
      continue
    to_upper = own & ~bare & (shapes[upper] < 1)
    regions[lower], regions[upper] = bare, regions[upper] | to_upper
    regions[TORSO] = regions[TORSO] | own & ~bare & ~to_upper
  return regions


def _continued(
  values: Shaped[np.ndarray, "h w"],
  scraps: Bool[np.ndarray, "h w"],
  lost: Bool[np.ndarray, "h w"],
) -> Shaped[np.ndarray, "h w"]:
  """Returns values that are in some pixels those of the nearest lost one."""
  if not (scraps.any() and lost.any()):
    return values
  indices = scipy.ndimage.distance_transform_edt(
    ~lost, return_distances=False, return_indices=True
  )
  return np.where(scraps, values[tuple(indices)], values)


def _small_parts(
  mask: Bool[np.ndarray, "h w"], least: float
) -> Bool[np.ndarray, "h w"]:
  """Returns the parts of a mask with fewer pixels, but for the largest part."""
  labels, count = scipy.ndimage.label(mask)
  areas = np.bincount(labels.ravel(), minlength=count + 1)
  return mask & (areas < least)[labels] & ~largest_part(mask)


def _reaching(
  mask: Bool[np.ndarray, "h w"], other: Bool[np.ndarray, "h w"]
) -> Bool[np.ndarray, "h w"]:
  """Returns the parts of a mask that another shares pixels with."""
  return scipy.ndimage.binary_propagation(mask & other, mask=mask)


def _apart_from(
  mask: Bool[np.ndarray, "h w"], other: Bool[np.ndarray, "h w"]
) -> Bool[np.ndarray, "h w"]:
  """Returns the parts of a mask that do not touch another; none if that is empty."""
  touching = scipy.ndimage.binary_dilation(other, iterations=2)
  return mask & ~_reaching(mask, touching) & other.any()


def _place(
  bone: Float[np.ndarray, "2 2"], shape: tuple[int, int]
) -> tuple[Float[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]:
  """Returns how far along a bone pixels are, from 0 to 1, and on which side of it."""
  y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
  direction = bone[1] - bone[0]
  x, y = x - bone[0, 0], y - bone[0, 1]
  along = x * direction[0] + y * direction[1]
  side = y * direction[0] - x * direction[1] > 0
  return along / max(float(direction @ direction), 1e-6), side


def _width(
  along: Float[np.ndarray, "h w"],
  side: Bool[np.ndarray, "h w"],
  distance: Float[np.ndarray, "h w"],
  own: Bool[np.ndarray, "h w"],
) -> Float[np.ndarray, "h w"]:
  """Returns half the width of a limb at each pixel, relative to that of its outline.

  It is that of the wider side: on the other, half of what it hides, or is hidden by, is
  missing.
  """
  widths = []
  for part in range(_NUM_PARTS):
    there = own & (along * _NUM_PARTS >= part) & (along * _NUM_PARTS < part + 1)
    sides = [distance[there & beside] for beside in (side, ~side)]
    found = [np.quantile(values, _HELD) / _HELD for values in sides if len(values)]
    widths.append(np.clip(max(found, default=0.0), *_WIDTHS))
  centres = (np.arange(_NUM_PARTS) + 0.5) / _NUM_PARTS
  return np.interp(along, centres, widths)
