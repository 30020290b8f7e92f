"""A person cut into pieces, one per bone, that can be moved and put together again.

Pieces overlap at the joints, and what one piece covers of another in the picture is
filled in with the colours of the other. So a person at rest is the picture, and a limb
that moves leaves no hole.
"""

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np
import PIL.Image
import PIL.ImageDraw
import scipy.ndimage
import scipy.spatial
from jaxtyping import Bool, Float, Float32, UInt8

from dabfusion_jax.people import landmarks as lm
from dabfusion_jax.people import skeleton
from dabfusion_jax.people.fill import fill_with_texture
from dabfusion_jax.people.piece import Piece, Seam
from dabfusion_jax.people.regions import (
  RADII,
  assign,
  largest_part,
  outlines,
  suits_head,
)
from dabfusion_jax.people.skeleton import FEET, HEAD, LIMBS, TORSO

_OVERLAP = 0.03  # of neighbouring pieces, relative to the trunk
_SHOULDERS = {name: LIMBS[name][0] for name in LIMBS if "upper_arm" in name}
_TORSO_JOINTS = (lm.LEFT_SHOULDER, lm.RIGHT_SHOULDER, lm.LEFT_HIP, lm.RIGHT_HIP)
_OUTLINE = 0.4  # of the radius; up to it a piece continues under what covers it
# Behind an arm a piece goes on by so much, and across narrow gaps; the sigma by which
# its edge there is rounded. In trunks.
_HIDDEN, _BRIDGED, _ROUND = 0.04, 0.15, 0.04
_JOINT, _ANKLE = 0.8, 0.4  # radii of the discs around joints, relative to the piece
# Least radius of an elbow or a knee, relative to half the width of the limb there.
_BEND = 0.75
BODY_ALPHA = 0.02  # of a pixel that belongs to the person
_AROUND = 8  # pixels around a person that are looked at
_MIXED = 3  # pixels around an edge whose colours are partly those of the other side
_BEHIND_ARMS = (TORSO, HEAD, "left_thigh", "right_thigh", "left_shin", "right_shin")
_SOLID_PIECES = (TORSO, "left_thigh", "right_thigh", "left_shin", "right_shin")
_THIN = 0.04  # half the width of what sticks out of these and is left out, in trunks
_MIN_PART = 0.04  # area of a part that shows a piece's colours, of the largest one
_SOLID = 0.95  # alpha of a pixel that is not mixed with the background
# The seam of an arm: from its outline to so far inside, and so far around its shoulder,
# in trunks; both with a soft end.
_SEAM_WIDTH, _SEAM_REACH, _SEAM_SOFT = 0.03, 0.3, (0.05, 0.1)
# From the back to the front.
_ORDER = ("right_foot", "left_foot", "right_shin", "left_shin", "right_thigh")
_ORDER += ("left_thigh", TORSO, HEAD, "right_upper_arm", "left_upper_arm")
_ORDER += ("right_forearm", "left_forearm")


def cut_pieces(
  picture: UInt8[np.ndarray, "h w 3"],
  alpha: Float32[np.ndarray, "h w"],
  joints: Float[np.ndarray, "33 2"],
) -> tuple[Piece, ...]:
  """Returns the pieces of a person, from the back to the front."""
  body = alpha > BODY_ALPHA
  rows, columns = np.flatnonzero(body.any(1)), np.flatnonzero(body.any(0))
  if not len(rows):
    return ()
  top, left = max(rows[0] - _AROUND, 0), max(columns[0] - _AROUND, 0)
  bottom, right = rows[-1] + 1 + _AROUND, columns[-1] + 1 + _AROUND
  window = (slice(top, bottom), slice(left, right))
  pieces = _cut_window(picture[window], alpha[window], joints - [left, top])
  place = lambda piece: {"left": piece.left + int(left), "top": piece.top + int(top)}
  return tuple(dataclasses.replace(piece, **place(piece)) for piece in pieces)


def _cut_window(
  picture: np.ndarray, alpha: np.ndarray, joints: np.ndarray
) -> Iterator[Piece]:
  """Yields the pieces of a person who fills a picture."""
  unit = skeleton.trunk_length(joints)
  body = alpha > BODY_ALPHA
  shapes = outlines(joints, unit, body.shape)
  regions = assign(shapes, body, picture, joints)
  colours = picture.astype(np.float32)
  arms = np.logical_or.reduce([regions[name] for name in regions if "arm" in name])
  # Arms cover what lies behind them; hair and neck also cover the trunk.
  fronts = {name: arms for name in _BEHIND_ARMS} | {TORSO: arms | regions[HEAD]}
  to_rest = scipy.ndimage.distance_transform_edt(arms | ~body)
  radii = _disc_radii(regions, joints, unit)
  for name in _ORDER:
    own = regions[name]
    if not own.any():
      continue
    near = np.logical_or.reduce([own, *(regions[other] for other in _neighbours(name))])
    discs = np.zeros_like(own)
    for joint, disc in _joint_discs(name, joints, radii, own.shape):
      discs |= disc & _meeting(name, joint, regions)
    wider = _dilate(own, _OVERLAP * unit)
    if name == HEAD:  # it must take no collar along
      wider &= own | (suits_head(regions, shapes, colours, unit) > 0)
    # Along the trunk an arm must take nothing of it along, only at the shoulder.
    shown = (own | wider & discs if "arm" in name else wider) | discs
    shown &= near
    if "arm" in name:  # a bit of sleeve that hangs on by nothing would fly along
      shown = largest_part(shown)
    # A piece continues under what covers it, within its own outline.
    covered, known = np.zeros_like(shown), shown
    if "arm" in name:
      known = shown & arms & (to_rest > _MIXED)
    if name in fronts:
      covered = (shapes[name] < _OUTLINE) & fronts[name] & ~shown
      # Beside a hanging arm the flank is seen: behind the arm there is not much more.
      flank = _closed(own, _BRIDGED * unit) | _dilate(own, _HIDDEN * unit)
      flank = (shown | covered & flank).astype(np.float32)
      flank = scipy.ndimage.gaussian_filter(flank, _ROUND * unit) > 0.5
      covered &= flank | ~arms
      if name == TORSO:
        covered &= _hull(own, joints[list(_TORSO_JOINTS)])
      known = shown & (scipy.ndimage.distance_transform_edt(~fronts[name]) > _MIXED)
    support = shown | covered
    if name in _SOLID_PIECES:
      support = _without_thin_parts(support, alpha, _THIN * unit)
      known = _large_parts(_without_thin_parts(known & support, alpha, _THIN * unit))
    if support.any():
      piece = _make_piece(name, picture, alpha, support, known)
      if name in _SHOULDERS:
        values = _seam(support & (alpha > 0.5), joints[_SHOULDERS[name]], unit)
        image = _cut_out(piece, values)
        outwards = _outwards(joints, _SHOULDERS[name])
        piece = dataclasses.replace(piece, seam=Seam(image, outwards))
      yield piece


def _neighbours(name: str) -> tuple[str, ...]:
  """Returns the pieces that a piece hangs together with."""
  side = name.partition("_")[0]
  chains = (("torso", f"{side}_upper_arm", f"{side}_forearm"),)
  chains += (("torso", f"{side}_thigh", f"{side}_shin", f"{side}_foot"),)
  if name in (TORSO, HEAD):
    limbs = [limb for limb, (first, _) in LIMBS.items() if first in _TORSO_JOINTS]
    return (HEAD, *limbs) if name == TORSO else (TORSO,)
  return tuple(
    other
    for chain in chains
    for pair in zip(chain, chain[1:], strict=False)
    if name in pair
    for other in pair
    if other != name
  )


def _disc_radii(
  regions: Mapping[str, Bool[np.ndarray, "h w"]], joints: np.ndarray, unit: float
) -> dict[tuple[str, int], float]:
  """Returns the radius of the disc around each end of each limb, in pixels.

  An elbow or a knee is as round as the limb is wide there: what is beyond sticks out
  when it bends.
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
  return radii


def _joint_discs(
  name: str,
  joints: np.ndarray,
  radii: Mapping[tuple[str, int], float],
  shape: tuple[int, int],
) -> Iterator[tuple[int, Bool[np.ndarray, "h w"]]]:
  """Yields the joints of a piece, and the discs in which it overlaps the next."""
  y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32) + 0.5
  for limb, (first, last) in LIMBS.items():
    chosen = {limb: (first, last)}.get(name, ())
    if name == TORSO and first in _TORSO_JOINTS:
      chosen = (first,)
    for joint in chosen:
      reach = np.hypot(x - joints[joint][0], y - joints[joint][1])
      yield joint, reach < radii[limb, joint]


def _meeting(
  name: str, joint: int, regions: Mapping[str, Bool[np.ndarray, "h w"]]
) -> Bool[np.ndarray, "h w"]:
  """Returns the pixels of all pieces that meet at a joint of a piece."""
  at_joint = [limb for limb, ends in LIMBS.items() if joint in ends]
  at_joint += [TORSO] if joint in _TORSO_JOINTS else []
  at_joint += [foot for foot, ankle in FEET.items() if joint == ankle]
  return np.logical_or.reduce([regions[other] for other in {name, *at_joint}])


def _hull(
  mask: Bool[np.ndarray, "h w"], points: Float[np.ndarray, "n 2"]
) -> Bool[np.ndarray, "h w"]:
  """Returns the convex hull of a mask and of points (x, y)."""
  rim = mask & ~scipy.ndimage.binary_erosion(mask)
  corners = np.concatenate([np.argwhere(rim)[:, ::-1], points])
  corners = corners[scipy.spatial.ConvexHull(corners, qhull_options="QJ").vertices]
  image = PIL.Image.new("1", mask.shape[::-1])
  PIL.ImageDraw.Draw(image).polygon([tuple(corner) for corner in corners], fill=1)
  return np.asarray(image)


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
  # At its outline a person is mixed with the background: colours from further inside.
  solid = known & (alpha > _SOLID)
  colours = fill_with_texture(colours, solid if solid.any() else support)
  soft = scipy.ndimage.uniform_filter(support.astype(np.float32), 3)
  rgba = np.dstack([colours, alpha * soft * 255])
  image = PIL.Image.fromarray(np.clip(np.round(rgba), 0, 255).astype(np.uint8), "RGBA")
  return Piece(name, image, int(left), int(top))


def _seam(
  mask: Bool[np.ndarray, "h w"], shoulder: Float[np.ndarray, "2"], unit: float
) -> Float[np.ndarray, "h w"]:
  """Returns the seam of an upper arm, in [0, 1]: its outline near the shoulder."""
  if not mask.any():
    return np.zeros(mask.shape)
  depth = scipy.ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1] / unit
  y, x = np.mgrid[: mask.shape[0], : mask.shape[1]] + 0.5
  reach = np.hypot(x - shoulder[0], y - shoulder[1]) / unit
  ends = zip((_SEAM_WIDTH, _SEAM_REACH), (depth, reach), _SEAM_SOFT, strict=True)
  near = [np.clip(1 + (end - value) / soft, 0, 1) for end, value, soft in ends]
  return near[0] * near[1]


def _outwards(joints: Float[np.ndarray, "33 2"], shoulder: int) -> int:
  """Returns the sign of turns that raise an arm beside the trunk (y points down)."""
  shoulders = joints[[lm.LEFT_SHOULDER, lm.RIGHT_SHOULDER]]
  hips = joints[[lm.LEFT_HIP, lm.RIGHT_HIP]]
  down = hips.mean(0) - shoulders.mean(0)
  aside = joints[shoulder] - shoulders.mean(0)
  return 1 if down[0] * aside[1] - down[1] * aside[0] > 0 else -1


def _cut_out(piece: Piece, values: Float[np.ndarray, "h w"]) -> PIL.Image.Image:
  """Returns values in [0, 1] where a piece is, as an image of mode L."""
  width, height = piece.image.size
  rows = slice(piece.top, piece.top + height)
  columns = slice(piece.left, piece.left + width)
  return PIL.Image.fromarray(np.round(values[rows, columns] * 255).astype(np.uint8))


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
