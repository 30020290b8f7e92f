"""A piece of a picture that moves, and how pieces are put over one another."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import PIL.Image
import PIL.ImageChops

from dabfusion_jax.people import skeleton
from dabfusion_jax.people.skeleton import TORSO, Affine

_FULL_TURN = 0.6  # radians against the trunk, from which on a seam gives way


@dataclasses.dataclass(frozen=True)
class Piece:
  """A part of the picture: its colours with alpha, and where it begins.

  Attributes:
    name: of the piece.
    image: RGBA.
    left, top: of the image in the picture.
    seam: L, how far each pixel gives way to other pieces under it once the piece has
      turned: there is no edge inside a sleeve and a shirt. None: nowhere.
  """

  name: str
  image: PIL.Image.Image
  left: int
  top: int
  seam: PIL.Image.Image | None = None

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
    share = min(abs(turn) / _FULL_TURN, 1.0)
    if self.seam is not None and share > 0:
      seam = self.seam.transform(size, PIL.Image.AFFINE, matrix, PIL.Image.BILINEAR)
      under = canvas.getchannel("A").crop((*low, *high))
      gives = PIL.ImageChops.multiply(seam, under).point(lambda value: share * value)
      stays = PIL.ImageChops.invert(gives)
      moved.putalpha(PIL.ImageChops.multiply(moved.getchannel("A"), stays))
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
