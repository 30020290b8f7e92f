"""A piece of a picture that moves, and how pieces are put over one another."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import PIL.Image
import PIL.ImageChops

from dabfusion_jax.people import skeleton
from dabfusion_jax.people.skeleton import TORSO, Affine

_FULL_TURN = 0.6  # radians, over which a seam loses its own colours
# An arm that seems to turn further inwards was raised by more than half a turn.
_MOST_INWARDS = 2.0


@dataclasses.dataclass(frozen=True)
class Seam:
  """The edge of an upper arm, drawn in the colours below it once the arm is raised.

  In its own colours, often lit from behind, it would be a line across the shoulder.

  Attributes:
    image: L, the share of the colours below in each pixel of the piece.
    outwards: the sign of turns that raise the arm beside the trunk.
  """

  image: PIL.Image.Image
  outwards: int

  def share(self, turn: float) -> float:
    """Returns the strength of the seam, in [0, 1].

    An arm that turns inwards, across the trunk, keeps its outline.

    Args:
      turn: of the piece against the trunk, in radians from -pi to pi.
    """
    turn = turn * self.outwards
    turn = max(turn, -_MOST_INWARDS - turn)
    return float(np.clip(turn / _FULL_TURN, 0, 1))


@dataclasses.dataclass(frozen=True)
class Piece:
  """A part of the picture: its colours with alpha, and where it begins.

  Attributes:
    name: of the piece.
    image: RGBA.
    left, top: of the image in the picture.
    seam: of an upper arm.
  """

  name: str
  image: PIL.Image.Image
  left: int
  top: int
  seam: Seam | None = None

  def draw(self, canvas: PIL.Image.Image, move: Affine, turn: float = 0.0) -> None:
    """Puts the piece, moved, over a canvas of mode RGBA.

    Args:
      canvas: changed in place.
      move: from pixels of the picture to those of the canvas.
      turn: of the piece against the trunk, in radians.
    """
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
    size, place = tuple(high - low), tuple(int(i) for i in low)
    moved = self.image.transform(size, PIL.Image.AFFINE, matrix, PIL.Image.BICUBIC)
    share = 0.0 if self.seam is None else self.seam.share(turn)
    if share > 0:
      seam = self.seam.image.transform(
        size, PIL.Image.AFFINE, matrix, PIL.Image.BILINEAR
      )
      under = canvas.crop((*low, *high))
      mask = PIL.ImageChops.multiply(seam, under.getchannel("A"))
      mask = mask.point(lambda value: round(share * value))
      alpha = moved.getchannel("A")  # colours alone: the person gets no holes
      moved = PIL.Image.composite(under, moved, mask)
      moved.putalpha(alpha)
    canvas.alpha_composite(moved, place)


def draw_pieces(
  pieces: Sequence[Piece], moves: Mapping[str, Affine], size: tuple[int, int]
) -> PIL.Image.Image:
  """Returns a canvas, RGBA, with the pieces moved.

  Args:
    pieces: from the back to the front.
    moves: of each by its name, and of the trunk.
    size: width and height of the canvas.
  """
  canvas = PIL.Image.new("RGBA", size)
  for piece in pieces:
    turn = skeleton.turn_between(moves[TORSO], moves[piece.name])
    piece.draw(canvas, moves[piece.name], turn)
  return canvas
