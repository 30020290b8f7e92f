"""A person cut into pieces, one per bone, that can be moved and put together again.

Pieces overlap at the joints, and what one piece covers of another in the picture is
filled in with the colours of the other. So a person at rest is the picture, and a limb
that moves leaves no hole.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import PIL.Image
import scipy.ndimage
import scipy.spatial
from jaxtyping import Bool, Float, Float32, UInt8

from dabfusion_jax.people import landmarks as lm
from dabfusion_jax.people import skeleton
from dabfusion_jax.people.fill import fill_with_texture
from dabfusion_jax.people.limbs import (
  SHOULDERS,
  centre_joints,
  disc_radii,
  joint_discs,
  meeting,
  split_limbs,
)
from dabfusion_jax.people.masks import fill_polygon
from dabfusion_jax.people.overlap import drawing_order, layer_limbs, without_clothes
from dabfusion_jax.people.piece import Piece
from dabfusion_jax.people.regions import (
  assign,
  cores,
  largest_part,
  outlines,
  suits_head,
)
from dabfusion_jax.people.seam import seam_at_bend, seam_at_shoulder
from dabfusion_jax.people.skeleton import (
  ARMS,
  HEAD,
  LEGS,
  LIMBS,
  TORSO,
  TORSO_JOINTS,
  Joints,
)
from dabfusion_jax.people.skirt import SKIRT, between_bones, find_hem

_OVERLAP = 0.03  # of neighbouring pieces, relative to the trunk
# Pieces that are drawn over the next one of a limb, with the joint between them.
_BENDS = {
  front: (behind, LIMBS[lower][0])
  for upper, lower in (*ARMS.values(), *LEGS.values())
  for front, behind in [(lower, upper) if "arm" in lower else (upper, lower)]
}
_OUTLINE = 0.4  # of the radius; up to it the trunk continues under hair and neck
# Around arms, masks are unsure up to so many trunks, and from this alpha on.
_NEAR_ARMS, _UNSURE = 0.04, 0.25
# Behind an arm, trunk and legs go on by so much, and as far as a disc of this radius
# cannot enter; the sigma by which the edge there is rounded. In trunks.
_HIDDEN, _BRIDGED, _ROUND = 0.015, 0.4, 0.04
BODY_ALPHA = 0.02  # of a pixel that belongs to the person
_AROUND = 8  # pixels around a person that are looked at
# Around an edge, colours are partly those of the other side: pixels, and trunks.
_MIXED, _MIXED_WIDTH = 3, 0.024
_CLEAN = 0.2  # of the colours of a limb, so many at least tell what others hide of it
_TRUNK_AND_LEGS = (TORSO, "left_thigh", "right_thigh", "left_shin", "right_shin")
_BEHIND_ARMS = (HEAD, *_TRUNK_AND_LEGS)
_THIN = 0.04  # half the width of what sticks out of these and is left out, in trunks
_MIN_PART = 0.04  # area of a part that shows a piece's colours, of the largest one
_SOLID = 0.95  # alpha of a pixel that is not mixed with the background


def cut_pieces(
  picture: UInt8[np.ndarray, "h w 3"],
  alpha: Float32[np.ndarray, "h w"],
  joints: Joints,
  depth: lm.Depth | None = None,
  hidden_arms: Sequence[str] = (),
  held_arms: Sequence[str] = (),
) -> tuple[tuple[Piece, ...], Joints]:
  """Returns the pieces of a person, from the back to the front, and their joints.

  The joints are those given, with elbows and knees in the middle of the limb.

  Args:
    picture: of the person.
    alpha: of the person.
    joints: of the picture.
    depth: of the joints, in pixels; more is farther from the camera; None: unknown.
    hidden_arms: sides, of "left" and "right", whose arm is not seen.
    held_arms: sides whose arm moves with the trunk, and stays part of it.
  """
  body = alpha > BODY_ALPHA
  rows, columns = np.flatnonzero(body.any(1)), np.flatnonzero(body.any(0))
  if not len(rows):
    return (), joints
  top, left = max(rows[0] - _AROUND, 0), max(columns[0] - _AROUND, 0)
  bottom, right = rows[-1] + 1 + _AROUND, columns[-1] + 1 + _AROUND
  window = (slice(top, bottom), slice(left, right))
  picture, alpha, joints = picture[window], alpha[window], joints - [left, top]
  unit = skeleton.trunk_length(joints)
  shapes = outlines(joints, unit, alpha.shape)
  for side in hidden_arms:
    shapes |= {part: np.full_like(shapes[part], np.inf) for part in ARMS[side]}
  regions = assign(shapes, alpha > BODY_ALPHA, picture, joints)
  depth = lm.flat() if depth is None else depth
  order = drawing_order(depth)
  regions, hidden = layer_limbs(regions, shapes, joints, depth, order)
  regions = without_clothes(regions, shapes, joints, picture)
  inner = {name: region & (alpha > 0.5) for name, region in regions.items()}
  joints = centre_joints(inner, joints, unit)
  regions = split_limbs(regions, joints)
  hidden = {name: mask & ~regions[name] for name, mask in hidden.items()}
  held = np.zeros_like(body[window])
  for part in (part for side in held_arms for part in ARMS[side]):
    held |= regions[part]
    regions[part] = hidden[part] = np.zeros_like(held)
  regions[TORSO] = regions[TORSO] | held
  pieces = _cut_regions(picture, alpha, joints, shapes, regions, order, hidden, held)
  place = lambda piece: {"left": piece.left + int(left), "top": piece.top + int(top)}
  moved = tuple(dataclasses.replace(piece, **place(piece)) for piece in pieces)
  return moved, joints + [left, top]


def _cut_regions(
  picture: np.ndarray,
  alpha: np.ndarray,
  joints: np.ndarray,
  shapes: Mapping[str, np.ndarray],
  regions: Mapping[str, np.ndarray],
  order: Sequence[str],
  hidden: Mapping[str, np.ndarray],
  held: Bool[np.ndarray, "h w"],
) -> Iterator[Piece]:
  """Yields the pieces of a person who fills a picture, whose trunk has held arms."""
  unit = skeleton.trunk_length(joints)
  body = alpha > BODY_ALPHA
  colours = picture.astype(np.float32)
  arms = np.logical_or.reduce([regions[name] for name in regions if "arm" in name])
  mixed = max(_MIXED, _MIXED_WIDTH * unit)
  # Arms cover what lies behind them, those of the trunk only legs; hair and neck also
  # cover the trunk.
  fronts = {name: arms | held for name in _BEHIND_ARMS}
  fronts |= {HEAD: arms, TORSO: arms | regions[HEAD]}
  # Specks of their colours on the far side of an arm do not count.
  seen = np.logical_or.reduce([regions[name] for name in _TRUNK_AND_LEGS]) & (
    alpha > 0.5
  )
  seen = _large_parts(_without_thin_parts(seen, alpha, _THIN * unit))
  behind_arms = _closed(seen, _BRIDGED * unit)
  from_arms = scipy.ndimage.distance_transform_edt(~arms)
  from_all_arms = from_arms
  if held.any():
    from_all_arms = scipy.ndimage.distance_transform_edt(~(arms | held))
  unsure = (from_arms < _NEAR_ARMS * unit) & (alpha > _UNSURE)
  unsure &= scipy.ndimage.distance_transform_edt(body) > _MIXED
  to_rest = scipy.ndimage.distance_transform_edt(arms | ~body)
  radii = disc_radii(regions, joints, unit)
  sure = cores(joints, unit, body)
  drawn = set()
  hem = find_hem(colours, alpha, joints, unit)
  for name in order if hem is None else _with_skirt(order):
    if name == SKIRT:
      cloth = np.logical_or.reduce([regions[x] for leg in LEGS.values() for x in leg])
      support = between_bones(joints, hem, alpha.shape) & (cloth | arms | held)
      known = support & cloth & (from_all_arms > mixed) & (alpha > _SOLID)
      if known.any():
        yield _make_piece(SKIRT, picture, alpha, support, known)
      continue
    own = regions[name]
    if not own.any():
      continue
    near = np.logical_or.reduce([own, *(regions[other] for other in _neighbours(name))])
    discs, joint_areas = np.zeros_like(own), np.zeros_like(own)
    for joint, disc in joint_discs(name, joints, radii, own.shape):
      discs |= disc & meeting(name, joint, regions)
      joint_areas |= disc
    wider = _dilate(own, _OVERLAP * unit)
    if name == HEAD:  # it must take no collar along
      wider &= own | (suits_head(regions, shapes, colours, unit) > 0)
    # Along the trunk an arm must take nothing of it along, only at the shoulder.
    shown = (own | wider & discs if "arm" in name else wider) | discs
    shown &= near
    if "arm" in name:  # a bit of sleeve that hangs on by nothing would fly along
      shown &= largest_part(shown | hidden[name])
    # A piece continues under what covers it, within its own outline.
    covered, known, opaque = np.zeros_like(shown), shown, alpha
    if "arm" in name:
      known = shown & arms & (to_rest > mixed)
    if name in fronts:
      # Behind arms, the outline continues as above and below them; behind hair and
      # neck, the trunk continues within its own outline.
      core = fronts[name] & sure.get(name, False)
      goes_on = _closed(own & seen | core, _BRIDGED * unit)
      goes_on |= _dilate(own, _HIDDEN * unit)
      goes_on |= joint_areas & behind_arms  # hands at the hips hide where they meet
      inside = fronts[name] & (shapes[name] < 1) | core
      rounded = (shown | inside & (goes_on | ~arms)).astype(np.float32)
      rounded = scipy.ndimage.gaussian_filter(rounded, _ROUND * unit) > 0.5
      covered = inside & np.where(arms, rounded, shapes[name] < _OUTLINE) & ~shown
      # Beside arms, masks are unsure of what is inside the outline.
      opaque = np.where(rounded & unsure, np.float32(1), alpha)
      if name == TORSO:
        covered &= _hull(own, joints[list(TORSO_JOINTS)])
      known = shown & ((from_arms if name == TORSO else from_all_arms) > mixed)
      if name == TORSO:
        known &= scipy.ndimage.distance_transform_edt(~regions[HEAD]) > _MIXED
    if name in hidden and hidden[name].any():
      covered |= hidden[name] & ~shown
      clean = known & (scipy.ndimage.distance_transform_edt(~hidden[name]) > mixed)
      known = clean if clean.sum() > _CLEAN * known.sum() else known
    support = shown | covered
    if name == HEAD:  # specks of what is beside hair
      support = _large_parts(support)
    if name in _TRUNK_AND_LEGS:
      whole = support & own & held  # with fingers
      support = _without_thin_parts(support, alpha, _THIN * unit) | whole
      if name == TORSO:  # what is left of the rim of a loose sleeve would float
        loose = support & ~_large_parts(support)
        collar = loose & _dilate(regions[HEAD], _OVERLAP * unit)
        collar = scipy.ndimage.binary_propagation(collar, mask=loose)
        support &= ~loose | collar | whole
      known &= support
      wide = _large_parts(_without_thin_parts(known, alpha, _THIN * unit))
      known = wide | known & whole
    if support.any():
      piece = _make_piece(name, picture, opaque, support, known & (alpha > _SOLID))
      seam = None
      if name in SHOULDERS:
        arm = support & (alpha > 0.5)
        seam = seam_at_shoulder(arm, joints, SHOULDERS[name], unit)
      elif name in _BENDS and _BENDS[name][0] in drawn:
        behind, joint = _BENDS[name]
        seam = seam_at_bend(
          own, regions[behind], hidden[behind], radii[name, joint], behind
        )
      drawn.add(name)
      yield piece if seam is None else piece.with_seam(seam)


def _with_skirt(order: Sequence[str]) -> tuple[str, ...]:
  """Returns an order in which a skirt lies between the thighs and what is below it."""
  thighs = [name for name in order if name.endswith("_thigh")]
  below = [name for name in order[: order.index(TORSO)] if name not in thighs]
  return (*below, SKIRT, *thighs, *order[order.index(TORSO) :])


def _neighbours(name: str) -> tuple[str, ...]:
  """Returns the pieces that a piece hangs together with."""
  side = name.partition("_")[0]
  chains = (("torso", f"{side}_upper_arm", f"{side}_forearm"),)
  chains += (("torso", f"{side}_thigh", f"{side}_shin", f"{side}_foot"),)
  if name in (TORSO, HEAD):
    limbs = [limb for limb, (first, _) in LIMBS.items() if first in TORSO_JOINTS]
    return (HEAD, *limbs) if name == TORSO else (TORSO,)
  return tuple(
    other
    for chain in chains
    for pair in zip(chain, chain[1:], strict=False)
    if name in pair
    for other in pair
    if other != name
  )


def _hull(
  mask: Bool[np.ndarray, "h w"], points: Float[np.ndarray, "n 2"]
) -> Bool[np.ndarray, "h w"]:
  """Returns the convex hull of a mask and of points (x, y)."""
  rim = mask & ~scipy.ndimage.binary_erosion(mask)
  corners = np.concatenate([np.argwhere(rim)[:, ::-1], points])
  corners = corners[scipy.spatial.ConvexHull(corners, qhull_options="QJ").vertices]
  return fill_polygon(corners, mask.shape)


def _make_piece(
  name: str,
  picture: np.ndarray,
  alpha: np.ndarray,
  support: Bool[np.ndarray, "h w"],
  known: Bool[np.ndarray, "h w"],
) -> Piece:
  """Returns a piece of what a support covers, with the colours that are known."""
  rows, columns = np.flatnonzero(support.any(1)), np.flatnonzero(support.any(0))
  top, left = max(rows[0] - 2, 0), max(columns[0] - 2, 0)
  window = (slice(top, rows[-1] + 3), slice(left, columns[-1] + 3))
  known, support, alpha = known[window], support[window], alpha[window]
  colours = picture[window].astype(np.float32)
  colours = fill_with_texture(colours, known if known.any() else support)
  soft = scipy.ndimage.uniform_filter(support.astype(np.float32), 3)
  rgba = np.dstack([colours, alpha * soft * 255])
  image = PIL.Image.fromarray(np.clip(np.round(rgba), 0, 255).astype(np.uint8), "RGBA")
  return Piece(name, image, int(left), int(top))


def _large_parts(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
  """Returns a mask without its small parts: of what a hand holds, or of its fingers."""
  labels, count = scipy.ndimage.label(mask)
  areas = np.bincount(labels.ravel(), minlength=count + 1)
  areas[0] = 0
  return (areas > _MIN_PART * areas.max())[labels]


def _without_thin_parts(
  support: Bool[np.ndarray, "h w"], alpha: Float32[np.ndarray, "h w"], radius: float
) -> Bool[np.ndarray, "h w"]:
  """Returns what a disc covers that stays inside, and the soft edge of that.

  Between fingers and body, and between arm and trunk, there are shadows and bits of
  background. They belong to nobody, and would fly along.
  """
  inside = scipy.ndimage.distance_transform_edt(np.pad(support & (alpha > 0.5), 1))
  core = (inside > radius)[1:-1, 1:-1]
  return support & _dilate(core, radius + 1)


def _closed(mask: Bool[np.ndarray, "h w"], radius: float) -> Bool[np.ndarray, "h w"]:
  """Returns a mask with what a disc cannot enter from outside."""
  margin = int(radius) + 2
  grown = np.pad(mask, margin)
  grown = scipy.ndimage.distance_transform_edt(~grown) <= radius
  inner = scipy.ndimage.distance_transform_edt(grown) > radius
  return inner[margin:-margin, margin:-margin]


def _dilate(mask: np.ndarray, pixels: float) -> np.ndarray:
  return scipy.ndimage.distance_transform_edt(~mask) <= max(pixels, 2)
