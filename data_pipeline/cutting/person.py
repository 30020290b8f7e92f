"""Where the dancer is: what moves in a film, what stands out of a picture's wall.

No network, no weights: it serves a camera that stands still and one person who moves.
The middle of a film is kept where it finds neither; a picture it cannot read is left
to the caller.
"""

import numpy as np
from jaxtyping import UInt8

from data_pipeline.media.framing import Transform, fit_short_side

_MIN_CHANGE = 24  # grey levels: more than noise and codecs make
_MIN_MOVING = 2e-4  # share of all pixels; less is nobody
_MAX_MOVING = 0.3  # more is the camera, or no plain wall
_NEARLY_SQUARE = 1 / 8  # of the height; so much to spare need not be looked for


def crop_on_person(
  frames: UInt8[np.ndarray, "t h w c"], transform: Transform
) -> tuple[UInt8[np.ndarray, "t s s c"], Transform]:
  """Cuts the square around the person out of a clip, the same for all its frames.

  Args:
    frames: of one shot, at their final scale (`framing.fit_short_side`).
    transform: where source pixels went.

  Returns:
    Squares with the side of the shorter one, and where source pixels went.
  """
  side = min(frames.shape[1:3])
  axis = 1 if frames.shape[1] > frames.shape[2] else 2
  place = find_person(frames, axis)
  start = _start_of(place, side, frames.shape[axis])
  offset = np.asarray(transform.offset) - (start * np.array([axis == 2, axis == 1]))
  cut = frames[:, start : start + side] if axis == 1 else (
    frames[:, :, start : start + side]
  )  # fmt: skip
  return cut, Transform(transform.scale, (float(offset[0]), float(offset[1])))


def crop_picture(
  image: UInt8[np.ndarray, "h w c"], size: int
) -> UInt8[np.ndarray, "{size} {size} c"] | None:
  """The square around the person of one picture, as film of her would be cut.

  Args:
    image: not higher than wide.
    size: of the square, pixels.

  Returns:
    The square; None where she cannot be told from what is behind her.
  """
  (small,), _ = fit_short_side(image[None], size)
  place = None
  if small.shape[1] > size * (1 + _NEARLY_SQUARE):
    place = find_in_picture(small)
    if place is None:
      return None
  start = _start_of(place, size, small.shape[1])
  return small[:, start : start + size]


def _start_of(place: float | None, side: int, length: int) -> int:
  """Where a square around a place begins; around the middle, if None."""
  middle = length / 2 if place is None else place
  return min(max(round(middle - side / 2), 0), length - side)


def find_person(frames: UInt8[np.ndarray, "t h w c"], axis: int) -> float | None:
  """The place along an axis, in pixels, with as much motion before as behind it.

  Motion is what differs from the median of all frames. A median of places, not a
  mean: a passer-by at the edge moves it little. None, if nothing or nearly everything
  moves.
  """
  still = np.median(frames, axis=0).astype(np.int16)
  moving = [np.abs(frame - still).max(axis=-1) > _MIN_CHANGE for frame in frames]
  profile = np.sum(moving, axis=(0, 3 - axis))
  return _middle_of(profile, np.prod(frames.shape[:3]))


def find_in_picture(image: UInt8[np.ndarray, "h w c"]) -> float | None:
  """The column, in pixels, with as much of the person left as right of it.

  The person is what differs from the median of its row: a wall and a floor have one
  colour along a row. None, if nothing or too much does.
  """
  wall = np.median(image, axis=1, keepdims=True).astype(np.int16)
  stands_out = np.abs(image - wall).max(axis=-1) > _MIN_CHANGE
  return _middle_of(stands_out.sum(axis=0), stands_out.size)


def _middle_of(profile: np.ndarray, total: int | np.integer) -> float | None:
  if not _MIN_MOVING < profile.sum() / total < _MAX_MOVING:
    return None
  return float(np.searchsorted(np.cumsum(profile), profile.sum() / 2)) + 0.5
