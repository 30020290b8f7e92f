"""A person of a scene, cut into pieces that can move."""

import dataclasses
from collections.abc import Mapping, Sequence, Set

import numpy as np
from jaxtyping import Bool

from dabfusion_jax.people.cut_off import cut_arms, stumps
from dabfusion_jax.people.hands import arms_before_trunk, held_arms, hidden_arms
from dabfusion_jax.people.piece import Piece
from dabfusion_jax.people.pieces import cut_pieces
from dabfusion_jax.people.regions import RADII
from dabfusion_jax.people.scene import Scene
from dabfusion_jax.people.skeleton import ARMS, LIMBS, Joints, trunk_length

# Of the width of its outline, what the pieces of an arm fill at least; and the share of
# a bone along which they may fill less. Arms that are seen whole fill 0.35 and more.
_FILLED, _THIN = 0.25, 0.3
_ALONG, _ACROSS = np.linspace(0.1, 0.95, 18), np.linspace(-1, 1, 15)  # samples of bones
_SEEN = 0.5  # alpha of a pixel that counts


@dataclasses.dataclass(frozen=True)
class Puppet:
  """What of a person moves, and what does not.

  Attributes:
    pieces: from the back to the front.
    joints: of the picture, with elbows and knees in the middle of the limb.
    held: sides, of "left" and "right", whose arm moves with the trunk.
    torn: those of them whose arm would come apart, or holds one that would. Their
      pixels belong to the trunk.
  """

  pieces: tuple[Piece, ...]
  joints: Joints
  held: tuple[str, ...]
  torn: tuple[str, ...]


def cut_puppet(layered: Scene) -> Puppet:
  """Cuts the person of a scene into pieces.

  Args:
    layered: with landmarks.
  """
  found = layered.landmarks
  # Of arms that are cut above the elbow nothing moves but with the trunk.
  held, hidden = {*held_arms(layered)}, {*hidden_arms(layered), *stumps(layered)}
  pieces, joints = _cut(layered, hidden)
  known = held | {*cut_arms(layered)}
  torn = {*torn_arms(pieces, joints, layered.alpha.shape)} - known
  if torn:  # an arm before the body probably holds the hand of the other
    torn |= {*arms_before_trunk(found)} - known
    pieces, joints = _cut(layered, hidden | torn)
  return Puppet(pieces, joints, _sides(held | torn), _sides(torn))


def _cut(layered: Scene, hidden: Set[str]) -> tuple[tuple[Piece, ...], Joints]:
  """Returns the pieces of a person without some arms, whose pixels others get."""
  found = layered.landmarks
  return cut_pieces(
    layered.colours, layered.alpha, found.points, found.depth, _sides(hidden)
  )


def _sides(chosen: Set[str]) -> tuple[str, ...]:
  return tuple(side for side in ARMS if side in chosen)


def torn_arms(
  pieces: Sequence[Piece], joints: Joints, shape: tuple[int, int]
) -> tuple[str, ...]:
  """Returns the sides, of "left" and "right", whose arm is not cut out whole.

  If the landmarks of an arm are wrong, or the picture does not tell it from what is
  beside it, its pieces are shreds, which would fly about.

  Args:
    pieces: of the person.
    joints: of the picture.
    shape: height and width of the picture.
  """
  by_name = {piece.name: piece for piece in pieces}
  unit = trunk_length(joints)
  torn = []
  for side, names in ARMS.items():
    arm = np.zeros(shape, bool)
    for name in names:
      arm |= _seen(by_name, name, shape)
    for name in names:
      start, end = joints[list(LIMBS[name])]
      across = np.array([start[1] - end[1], end[0] - start[0]])
      across *= RADII[name.partition("_")[2]] * unit / max(np.hypot(*across), 1e-6)
      along = start + _ALONG[:, None, None] * (end - start)
      x, y = np.moveaxis(along + _ACROSS[:, None] * across, -1, 0)
      rows, columns = (
        np.clip(v, 0, n - 1).astype(int) for v, n in zip((y, x), shape, strict=True)
      )
      filled = arm[rows, columns].mean(1)
      if np.quantile(filled, _THIN) < _FILLED:
        torn.append(side)
        break
  return tuple(torn)


def _seen(
  by_name: Mapping[str, Piece], name: str, shape: tuple[int, int]
) -> Bool[np.ndarray, "h w"]:
  """Returns where a piece is in the picture."""
  seen = np.zeros(shape, bool)
  if name in by_name:
    piece = by_name[name]
    alpha = np.asarray(piece.image)[..., 3] > 255 * _SEEN
    window = seen[piece.top : piece.top + len(alpha), piece.left :][:, : alpha.shape[1]]
    window |= alpha[: window.shape[0], : window.shape[1]]
  return seen
