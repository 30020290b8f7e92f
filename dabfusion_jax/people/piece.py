"""A piece of a picture that moves, and how pieces are put over one another."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import PIL.Image
import PIL.ImageChops

from dabfusion_jax.people import skeleton
from dabfusion_jax.people.seam import Seam
from dabfusion_jax.people.skeleton import TORSO, Affine

Box = tuple[int, int, int, int]  # left, top, right, bottom; the last two are outside


@dataclasses.dataclass(frozen=True)
class Piece:
  """A part of the picture: its colours with alpha, and where it begins.

  Attributes:
    name: of the piece.
    image: RGBA.
    left, top: of the image in the picture.
    seam: of a piece that has one.
  """

  name: str
  image: PIL.Image.Image
  left: int
  top: int
  seam: Seam | None = None

  def with_seam(self, seam: Seam) -> "Piece":
    """Returns the piece with a seam of the picture."""
    width, height = self.image.size
    box = (self.left, self.top, self.left + width, self.top + height)
    return dataclasses.replace(self, seam=seam.cut(box))

  def draw(
    self,
    canvas: PIL.Image.Image,
    move: Affine,
    turn: float = 0.0,
    below: tuple["Piece", Affine] | None = None,
  ) -> None:
    """Puts the piece, moved, over a canvas of mode RGBA.

    Args:
      canvas: changed in place.
      move: from pixels of the picture to those of the canvas.
      turn: of the piece against the trunk, in radians.
      below: the piece whose colours a seam takes, and how that has moved; None: those
        of the canvas.
    """
    box = self._box((0, 0, *self.image.size), move, canvas.size)
    if box is None:
      return
    moved = self._moved(self.image, move, box, PIL.Image.BICUBIC)
    share = 0.0 if self.seam is None else self.seam.share(turn)
    inner = self.seam.image.getbbox() if share > 0 else None
    area = self._box(inner, move, canvas.size) if inner else None
    if area is not None:
      if below is None:
        under = canvas.crop(area)
      else:
        piece, its_move = below
        under = piece._moved(piece.image, its_move, area, PIL.Image.BICUBIC)
      mask = self._moved(self.seam.image, move, area)
      mask = PIL.ImageChops.multiply(mask, under.getchannel("A"))
      mask = mask.point(lambda value: round(share * value))
      left, top = area[0] - box[0], area[1] - box[1]
      own = moved.crop((left, top, left + mask.width, top + mask.height))
      mixed = PIL.Image.composite(under, own, mask)
      mixed.putalpha(own.getchannel("A"))  # colours alone: the person gets no holes
      moved.paste(mixed, (left, top))
    canvas.alpha_composite(moved, box[:2])

  def _box(self, part: Box, move: Affine, size: tuple[int, int]) -> Box | None:
    """Returns where a part of the moved piece is on a canvas, if anywhere."""
    left, top, right, bottom = part
    corners = np.array([[left, top], [right, top], [left, bottom], [right, bottom]])
    corners = skeleton.apply(move, corners + [float(self.left), float(self.top)])
    low = np.maximum(np.floor(corners.min(0)).astype(int), 0)
    high = np.minimum(np.ceil(corners.max(0)).astype(int), size)
    return None if (high <= low).any() else (*low.tolist(), *high.tolist())

  def _moved(
    self,
    image: PIL.Image.Image,
    move: Affine,
    box: Box,
    resample: int = PIL.Image.BILINEAR,
  ) -> PIL.Image.Image:
    """Returns an image of the piece's size, moved, in a box of the canvas."""
    inverse = np.linalg.inv(move[:, :2])
    offset = inverse @ (box[:2] - move[:, 2]) - [self.left, self.top]
    matrix = (*inverse[0], offset[0], *inverse[1], offset[1])
    size = (box[2] - box[0], box[3] - box[1])
    return image.transform(size, PIL.Image.AFFINE, matrix, resample)


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
  by_name = {piece.name: piece for piece in pieces}
  for piece in pieces:
    turn = skeleton.turn_between(moves[TORSO], moves[piece.name])
    below = None
    if piece.seam is not None and piece.seam.below is not None:
      below = by_name[piece.seam.below], moves[piece.seam.below]
    piece.draw(canvas, moves[piece.name], turn, below)
  return canvas
