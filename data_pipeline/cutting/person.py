"""Finds the dancer: by motion in a video, by contrast with the wall in a picture.

It uses no network and no weights, and serves a fixed camera and one person who moves.
If it finds nobody in a video, the middle is kept; if it finds nobody in a picture, the
caller decides.
"""

import numpy as np
from jaxtyping import UInt8

from data_pipeline.media.framing import Transform, fit_short_side

_MIN_CHANGE = 24  # grey levels; noise and codecs change pixels by less
_MIN_MOVING = 2e-4  # fraction of all pixels; if less moves, nobody is there
_MAX_MOVING = 0.3  # if more moves, it is the camera, or the wall is not plain
_NEARLY_SQUARE = 1 / 8  # of the height; with less to spare, the middle will do


def crop_on_person(
  frames: UInt8[np.ndarray, "t h w c"], transform: Transform
) -> tuple[UInt8[np.ndarray, "t s s c"], Transform]:
  """Crops a clip to the square around the person, the same square for all frames.

  Args:
    frames: of one shot, at their final scale (`framing.fit_short_side`).
    transform: the map from source pixels to those of `frames`.

  Returns:
    Squares as large as the shorter side, and the map from source pixels to theirs.
  """
  side = min(frames.shape[1:3])
  axis = 1 if frames.shape[1] > frames.shape[2] else 2
  start = _square_start(find_person(frames, axis), side, frames.shape[axis])
  offset = np.asarray(transform.offset) - (start * np.array([axis == 2, axis == 1]))
  window = slice(start, start + side)
  square = frames[:, window] if axis == 1 else frames[:, :, window]
  return square, Transform(transform.scale, (float(offset[0]), float(offset[1])))


def crop_picture(
  image: UInt8[np.ndarray, "h w c"], size: int
) -> UInt8[np.ndarray, "{size} {size} c"] | None:
  """Crops a picture to the square around its person, as videos are cropped.

  Args:
    image: at least as wide as high.
    size: of the square, in pixels.

  Returns:
    The square, or None if the person cannot be separated from the background.
  """
  (small,), _ = fit_short_side(image[None], size)
  place = None
  if small.shape[1] > size * (1 + _NEARLY_SQUARE):
    place = find_in_picture(small)
    if place is None:
      return None
  start = _square_start(place, size, small.shape[1])
  return small[:, start : start + size]


def _square_start(place: float | None, side: int, length: int) -> int:
  """Returns where a square around a place begins; around the middle if None."""
  middle = length / 2 if place is None else place
  return min(max(round(middle - side / 2), 0), length - side)


def find_person(frames: UInt8[np.ndarray, "t h w c"], axis: int) -> float | None:
  """Finds the place along an axis with as much motion before it as after it.

  Motion is any difference from the median of all frames. The place is a median rather
  than a mean, so that a passer-by at the edge hardly moves it.

  Args:
    frames: of one shot.
    axis: 1 (rows) or 2 (columns).

  Returns:
    Pixels from the edge, or None if nothing or nearly everything moves.
  """
  still = np.median(frames, axis=0).astype(np.int16)
  moving = [np.abs(frame - still).max(axis=-1) > _MIN_CHANGE for frame in frames]
  profile = np.sum(moving, axis=(0, 3 - axis))
  return _median_place(profile, np.prod(frames.shape[:3]))


def find_in_picture(image: UInt8[np.ndarray, "h w c"]) -> float | None:
  """Finds the column with as much of the person to its left as to its right.

  The person is any difference from the median of a row, because walls and floors have
  one colour along a row.

  Returns:
    Pixels from the left edge, or None if nothing or too much differs.
  """
  wall = np.median(image, axis=1, keepdims=True).astype(np.int16)
  stands_out = np.abs(image - wall).max(axis=-1) > _MIN_CHANGE
  return _median_place(stands_out.sum(axis=0), stands_out.size)


def _median_place(profile: np.ndarray, total: int | np.integer) -> float | None:
  if not _MIN_MOVING < profile.sum() / total < _MAX_MOVING:
    return None
  return float(np.searchsorted(np.cumsum(profile), profile.sum() / 2)) + 0.5
