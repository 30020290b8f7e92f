"""Squares in a picture: cut out at another size, and put back."""

import dataclasses

import numpy as np
import PIL.Image
from jaxtyping import Float, Float32, UInt8


@dataclasses.dataclass(frozen=True)
class Square:
  """A square in a picture: its left upper corner and its side, in pixels."""

  left: float
  top: float
  side: float

  def cut(
    self, picture: UInt8[np.ndarray, "h w 3"], size: int
  ) -> UInt8[np.ndarray, "{size} {size} 3"]:
    """Returns the square at `size`; outside the picture its border is repeated."""
    image = self._padded(picture)
    return np.asarray(
      image.resize((size, size), PIL.Image.BICUBIC, box=self._box(picture.shape))
    )

  def put_back(
    self, values: Float[np.ndarray, "n n"], height: int, width: int
  ) -> Float32[np.ndarray, "{height} {width}"]:
    """Returns values given in the square as a map of the picture; 0 outside."""
    scale = len(values) / self.side
    image = PIL.Image.fromarray(np.asarray(values, np.float32))
    matrix = (scale, 0, -self.left * scale, 0, scale, -self.top * scale)
    moved = image.transform(
      (width, height), PIL.Image.AFFINE, matrix, PIL.Image.BICUBIC
    )
    return np.asarray(moved)

  def to_picture(self, points: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 2"]:
    """Maps points (x, y) from [0, 1] in the square to pixels of the picture."""
    return points * self.side + [self.left, self.top]

  def from_picture(
    self, points: Float[np.ndarray, "*n 2"]
  ) -> Float[np.ndarray, "*n 2"]:
    """Maps points (x, y) from pixels of the picture to [0, 1] in the square."""
    return (points - [self.left, self.top]) / self.side

  def part(self, inside: "Square", size: int) -> "Square":
    """Returns a square that is given in the pixels of this one at `size`."""
    scale = self.side / size
    left, top = self.left + inside.left * scale, self.top + inside.top * scale
    return Square(left, top, inside.side * scale)

  def enlarged(self, factor: float) -> "Square":
    """Returns the square with the same centre and `factor` times the side."""
    more = (factor - 1) * self.side / 2
    return Square(self.left - more, self.top - more, factor * self.side)

  def _padding(self, shape: tuple[int, ...]) -> int:
    beyond = (-self.left, -self.top, self.left + self.side - shape[1])
    return max(0, int(np.ceil(max(*beyond, self.top + self.side - shape[0]))))

  def _padded(self, picture: np.ndarray) -> PIL.Image.Image:
    width = self._padding(picture.shape)
    return PIL.Image.fromarray(
      np.pad(picture, ((width, width), (width, width), (0, 0)), mode="edge")
    )

  def _box(self, shape: tuple[int, ...]) -> tuple[float, float, float, float]:
    left, top = self.left + self._padding(shape), self.top + self._padding(shape)
    return left, top, left + self.side, top + self.side


def square_around(mask: np.ndarray, margin: float) -> Square:
  """Returns the square around what is set in a mask, enlarged by a factor."""
  rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
  top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
  side = float(max(bottom - top, right - left)) * margin
  return Square((left + right - side) / 2, (top + bottom - side) / 2, side)
