"""A person of a scene, cut into pieces that can move."""

import dataclasses
from collections.abc import Sequence, Set

import numpy as np

from dabfusion_jax.people.cut_off import cut_arms, cut_upper_arms
from dabfusion_jax.people.hands import arms_before_trunk, held_arms, hidden_arms
from dabfusion_jax.people.piece import Piece, draw_pieces
from dabfusion_jax.people.pieces import cut_pieces
from dabfusion_jax.people.regions import RADII
from dabfusion_jax.people.scene import Scene
from dabfusion_jax.people.skeleton import ARMS, LIMBS, TORSO, Joints, trunk_length

# The least share of the width of its outline that an arm fills if it is whole, and the
# share of a bone along which it may fill less. Whole arms in film and photographs fill
# 0.28 and more.
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
  # An arm that is cut above the elbow moves with the trunk, so it stays part of it.
  held, hidden = (
    {*held_arms(layered)},
    {*hidden_arms(layered), *cut_upper_arms(layered)},
  )
  pieces, joints = _cut(layered, hidden, held - hidden)
  known = held | {*cut_arms(layered)}
  torn = {*torn_arms(pieces, joints, layered.alpha.shape)} - known
  if torn:  # an arm before the body probably holds the hand of the other
    torn |= {*arms_before_trunk(found)} - known
    pieces, joints = _cut(layered, hidden | torn, held - hidden)
  return Puppet(pieces, joints, _sides(held | torn), _sides(torn))


def _cut(
  layered: Scene, hidden: Set[str], held: Set[str]
) -> tuple[tuple[Piece, ...], Joints]:
  """Returns the pieces of a person without some arms, whose pixels others get.

  Those of held arms, the trunk gets.
  """
  found = layered.landmarks
  arms = _sides(hidden), _sides(held)
  return cut_pieces(layered.colours, layered.alpha, found.points, found.depth, *arms)


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
  unit = trunk_length(joints)
  torn = []
  for side, names in ARMS.items():
    shown = [piece for piece in pieces if piece.name in names]
    at_rest = dict.fromkeys((TORSO, *names), np.eye(2, 3))
    drawn = draw_pieces(shown, at_rest, shape[::-1])
    arm = np.asarray(drawn)[..., 3] > 255 * _SEEN
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
