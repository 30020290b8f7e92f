"""A person cut into pieces, one per bone, that can be moved and put together again.

Pieces overlap at the joints, and what one piece covers of another in the picture is
filled in with the colours of the other. So a person at rest is the picture, and a limb
that moves leaves no hole.
"""

import dataclasses

import numpy as np
import PIL.Image
import scipy.ndimage
from jaxtyping import Bool, Float, Float32, UInt8

from dabfusion_jax.people import landmarks as lm
from dabfusion_jax.people import skeleton
from dabfusion_jax.people.fill import fill_smoothly
from dabfusion_jax.people.skeleton import FEET, HEAD, LIMBS, TORSO, Affine

# Half the width of a piece, relative to the trunk from the hips to the neck.
_RADII = {"upper_arm": 0.15, "forearm": 0.13, "thigh": 0.24, "shin": 0.17}
_HEAD_RADIUS, _FOOT_RADIUS, _TORSO_RADIUS = 0.36, 0.12, 0.25
_HAND, _HAND_RADIUS = 1.15, 0.17  # the hand goes on beyond the knuckles
_OVERLAP = 0.03  # of neighbouring pieces, relative to the trunk
_TORSO_JOINTS = (lm.LEFT_SHOULDER, lm.RIGHT_SHOULDER, lm.LEFT_HIP, lm.RIGHT_HIP)
_OUTLINE = 0.4  # of the radius; up to it a piece continues under arms
_JOINT, _ANKLE = 0.8, 0.4  # radii of the discs around joints, relative to the piece
# Relative to the radius of an arm: a pixel within the first is the arm's, one beyond
# the last is not; the middle one is the edge if colours do not tell.
_ARM_CORE, _ARM_LIMIT, _ARM_EDGE = 0.5, 0.95, 1.4
_MIXED = 3  # pixels around an arm whose colours are partly the arm's
_CLEAR_LEVELS = 30  # by which a colour suits one piece better than another
_BEHIND_ARMS = (TORSO, HEAD, "left_thigh", "right_thigh", "left_shin", "right_shin")
_SOLID = 0.95  # alpha of a pixel that is not mixed with the background
# From the back to the front.
_ORDER = ("right_foot", "left_foot", "right_shin", "left_shin", "right_thigh")
_ORDER += ("left_thigh", TORSO, HEAD, "right_upper_arm", "left_upper_arm")
_ORDER += ("right_forearm", "left_forearm")


@dataclasses.dataclass(frozen=True)
class Piece:
  """A part of the picture: its colours with alpha, and where it begins."""

  name: str
  image: PIL.Image.Image  # RGBA
  left: int
  top: int

  def draw(self, canvas: PIL.Image.Image, move: Affine) -> None:
    """Puts the piece, moved, over a canvas of mode RGBA."""
    width, height = self.image.size
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], float)
    corners = skeleton.apply(move, corners + [self.left, self.top])
    low = np.maximum(np.floor(corners.min(0)).astype(int), 0)
    high = np.minimum(np.ceil(corners.max(0)).astype(int), canvas.size)
    if (high <= low).any():
      return
    inverse = np.linalg.inv(move[:, :2])
    offset = inverse @ (low - move[:, 2]) - [self.left, self.top]
    matrix = (*inverse[0], offset[0], *inverse[1], offset[1])
    moved = self.image.transform(
      tuple(high - low), PIL.Image.AFFINE, matrix, PIL.Image.BICUBIC
    )
    canvas.alpha_composite(moved, tuple(int(i) for i in low))


def cut_pieces(
  picture: UInt8[np.ndarray, "h w 3"],
  alpha: Float32[np.ndarray, "h w"],
  joints: Float[np.ndarray, "33 2"],
) -> tuple[Piece, ...]:
  """Returns the pieces of a person, from the back to the front."""
  unit = skeleton.trunk_length(joints)
  body = alpha > 0.02
  shapes = _shapes(joints, unit, body.shape)
  regions = _assign(shapes, body, picture)
  arms = np.logical_or.reduce([regions[name] for name in regions if "arm" in name])
  to_arm = scipy.ndimage.distance_transform_edt(~arms)
  to_rest = scipy.ndimage.distance_transform_edt(arms | ~body)
  pieces = []
  for name in _ORDER:
    own = regions[name]
    if not own.any():
      continue
    near = np.logical_or.reduce([own, *(regions[other] for other in _neighbours(name))])
    discs = _joint_discs(name, joints, unit, own.shape)
    wider = _dilate(own, _OVERLAP * unit)
    # Along the trunk an arm must take nothing of it along, only at the shoulder.
    shown = (own | wider & discs if "arm" in name else wider) | discs
    shown &= near
    if "arm" in name:  # a bit of sleeve that hangs on by nothing would fly along
      shown = _largest_part(shown)
    # What arms cover, inside the outline of what is behind them.
    covered, known = np.zeros_like(shown), shown
    if "arm" in name:
      known = shown & arms & (to_rest > _MIXED)
    if name in _BEHIND_ARMS:
      covered = (shapes[name] < _OUTLINE) & arms & ~shown
      known = shown & (to_arm > _MIXED)
    pieces.append(_make_piece(name, picture, alpha, shown | covered, known))
  return tuple(pieces)


def _shapes(
  joints: np.ndarray, unit: float, shape: tuple[int, int]
) -> dict[str, Float32[np.ndarray, "h w"]]:
  """Returns the distance of each pixel from each piece; 1 at its outline."""
  y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32) + 0.5
  shapes = {}
  for name, (first, last) in LIMBS.items():
    start, end = joints[first], joints[last]
    radius = _RADII[name.partition("_")[2]] * unit
    shapes[name] = _distance(x, y, start, end) / radius
    if "forearm" in name:
      fingers = joints[list(lm.LEFT_HAND if "left" in name else lm.RIGHT_HAND)].mean(0)
      tip = end + _HAND * (fingers - end)
      hand = _distance(x, y, end, tip) / (_HAND_RADIUS * unit)
      shapes[name] = np.minimum(shapes[name], hand)
  for name, ankle in FEET.items():
    toe = joints[lm.LEFT_TOE if name == "left_foot" else lm.RIGHT_TOE]
    distance = _distance(x, y, joints[ankle], toe) / (_FOOT_RADIUS * unit)
    shapes[name] = np.where(y > joints[ankle][1], 0.3 * distance, distance)
  neck = (joints[lm.LEFT_SHOULDER] + joints[lm.RIGHT_SHOULDER]) / 2
  ears = (joints[lm.LEFT_EAR] + joints[lm.RIGHT_EAR]) / 2
  shapes[HEAD] = _distance(x, y, ears, ears + 0.6 * (ears - neck)) / (
    _HEAD_RADIUS * unit
  )
  corners = joints[[lm.LEFT_SHOULDER, lm.RIGHT_SHOULDER, lm.RIGHT_HIP, lm.LEFT_HIP]]
  outline = [
    _distance(x, y, corners[i], corners[(i + 1) % 4]) / (_TORSO_RADIUS * unit)
    for i in range(4)
  ]
  shapes[TORSO] = np.where(_inside(x, y, corners), 0, np.min(outline, 0))
  return shapes


def _assign(
  shapes: dict[str, np.ndarray],
  body: Bool[np.ndarray, "h w"],
  picture: UInt8[np.ndarray, "h w 3"],
) -> dict[str, Bool[np.ndarray, "h w"]]:
  """Gives each pixel of the body to one piece: arms first, then the nearest.

  Near an arm that hangs in front of the body, colour decides: a pixel is the arm's if
  the colour around there is that of the arm's core rather than that of the rest.
  """
  names = [name for name in shapes if "arm" not in name]
  distance = np.stack([shapes[name] for name in names])
  nearest = distance.argmin(0)
  regions = {name: nearest == i for i, name in enumerate(names)}
  colours = picture.astype(np.float32)
  arms = [name for name in shapes if "arm" in name]
  from_arms = np.stack([shapes[name] for name in arms])
  from_arm, nearest_arm = from_arms.min(0), from_arms.argmin(0)
  core, rest = (from_arm < _ARM_CORE) & body, (from_arm > _ARM_EDGE) & body
  is_arm = from_arm < np.minimum(distance.min(0), _ARM_LIMIT)
  if core.any() and rest.any():
    errors = [
      np.abs(colours - fill_smoothly(colours, known)).sum(-1) for known in (core, rest)
    ]
    errors = [scipy.ndimage.gaussian_filter(error, 1.0) for error in errors]
    # Sleeves and collars lie near upper arms, and look like what they lie on.
    is_lower = np.array(["forearm" in name for name in arms])[nearest_arm]
    edge = np.where(is_lower, _ARM_EDGE, _ARM_LIMIT)
    unsure = (from_arm >= _ARM_CORE) & (from_arm <= edge)
    clear = np.abs(errors[0] - errors[1]) > _CLEAR_LEVELS
    is_arm = np.where(unsure & clear, errors[0] < errors[1], is_arm)
  is_arm = scipy.ndimage.median_filter(is_arm | core, 5) & body
  is_left = np.array(["left" in name for name in arms])[nearest_arm]
  is_arm = _largest_part(is_arm & is_left) | _largest_part(is_arm & ~is_left)
  regions = {name: region & body & ~is_arm for name, region in regions.items()}
  # Bits of a sleeve beyond the arm's outline, which the arm has cut off from the trunk.
  bits = regions[TORSO] & ~_largest_part(regions[TORSO])
  regions[TORSO] &= ~bits
  is_arm |= bits
  of_arms = {name: is_arm & (nearest_arm == i) for i, name in enumerate(arms)}
  for side in ("left", "right"):  # bits of a sleeve that are nearer to the forearm
    upper, lower = f"{side}_upper_arm", f"{side}_forearm"
    whole = _largest_part(of_arms[lower])
    of_arms[upper] |= of_arms[lower] & ~whole
    of_arms[lower] = whole
  return regions | of_arms


def _largest_part(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
  """Returns the largest connected part of a mask: specks of its colour are no arm."""
  labels, count = scipy.ndimage.label(mask)
  if not count:
    return mask
  return labels == np.bincount(labels[mask]).argmax()


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


def _joint_discs(
  name: str, joints: np.ndarray, unit: float, shape: tuple[int, int]
) -> Bool[np.ndarray, "h w"]:
  """Returns the discs around the joints of a piece, in which it overlaps the next."""
  discs = np.zeros(shape, bool)
  y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32) + 0.5
  for limb, (first, last) in LIMBS.items():
    radius = _RADII[limb.partition("_")[2]] * unit
    chosen = {limb: (first, last)}.get(name, ())
    if name == TORSO and first in _TORSO_JOINTS:
      chosen = (first,)
    for joint in chosen:
      size = _ANKLE if joint in FEET.values() else _JOINT
      reach = np.hypot(x - joints[joint][0], y - joints[joint][1])
      discs |= reach < size * radius
  return discs


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
  colours = fill_smoothly(colours, solid if solid.any() else support)
  soft = scipy.ndimage.uniform_filter(support.astype(np.float32), 3)
  rgba = np.dstack([colours, alpha * soft * 255])
  image = PIL.Image.fromarray(np.clip(np.round(rgba), 0, 255).astype(np.uint8), "RGBA")
  return Piece(name, image, int(left), int(top))


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


def _dilate(mask: np.ndarray, pixels: float) -> np.ndarray:
  return scipy.ndimage.distance_transform_edt(~mask) <= max(pixels, 2)
