"""Chooses the frames of a clip and brings them to a square.

Every source is treated alike: the video frame nearest to `t0 + k / fps` is taken, and
area interpolation brings it to a square: letterboxed (1920x1080 fills rows 28..99 of
128), cropped in the middle, or cropped around the person (`fit_short_side` keeps the
longer side for `data_pipeline.cutting.person`). Numpy only; pixel coordinates are
integers at pixel centres.
"""

import dataclasses
import math
from fractions import Fraction

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64, Shaped, UInt8

Number = int | float | Fraction  # seconds and frame rates; video has rational rates


@dataclasses.dataclass(frozen=True)
class Transform:
  """Maps source pixels to output pixels: `output = source * scale + offset`, (x, y)."""

  scale: tuple[float, float]
  offset: tuple[float, float]

  def __call__(self, points: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 2"]:
    """Maps (x, y) positions in pixels, with integers at pixel centres."""
    scale = np.asarray(self.scale, points.dtype)
    return points * scale + np.asarray(self.offset, points.dtype)


def resample_times(
  num_frames: int, fps: Number, start_seconds: Number
) -> Float64[np.ndarray, "n"]:
  """Returns the times `start + k / fps` of a clip's frames, in seconds."""
  return start_seconds + np.arange(num_frames) / float(fps)


def nearest_frames(
  video_times: Float64[np.ndarray, "m"], wanted_times: Float64[np.ndarray, "n"]
) -> Int64[np.ndarray, "n"]:
  """Returns the index of the frame nearest to each time; ties go to the earlier one.

  Args:
    video_times: time stamps, ascending; they need not be evenly spaced.
    wanted_times: times, ascending.
  """
  # A microsecond keeps ties (10 fps read at 20) from depending on the last bit.
  middles = (video_times[1:] + video_times[:-1]) / 2 + 1e-6
  return np.searchsorted(middles, wanted_times, side="left").astype(np.int64)


def _overlap_matrix(
  size_in: int, size_out: int
) -> tuple[Float32[np.ndarray, "o i"], int]:
  """Returns how much of each source pixel an output pixel covers, in whole units.

  Integers keep the sums exact in float32 for all usual sizes, so that every machine
  rounds to the same byte. Each row sums to the second value.
  """
  common = math.gcd(size_in, size_out)
  units_in, units_out = size_in // common, size_out // common
  # If a source pixel is units_out units long, an output pixel is units_in units long.
  low = np.maximum(
    np.arange(size_out)[:, None] * units_in, np.arange(size_in)[None] * units_out
  )
  high = np.minimum(
    np.arange(1, size_out + 1)[:, None] * units_in,
    np.arange(1, size_in + 1)[None] * units_out,
  )
  return np.maximum(high - low, 0).astype(np.float32), units_in


def resize_area(
  frames: UInt8[np.ndarray, "n h w c"], height: int, width: int
) -> UInt8[np.ndarray, "n height width c"]:
  """Resizes by area: each output pixel is the mean of the source area it covers."""
  num, height_in, width_in, channels = frames.shape
  if (height_in, width_in) == (height, width):
    return frames
  rows, row_sum = _overlap_matrix(height_in, height)
  columns, column_sum = _overlap_matrix(width_in, width)
  out = np.empty((num, height, width, channels), np.uint8)
  for i, frame in enumerate(frames):  # one at a time: large frames in float32
    sums = rows @ frame.reshape(height_in, -1).astype(np.float32)
    # One large product instead of many small ones with three channels each.
    sums = sums.reshape(height, width_in, channels).swapaxes(1, 2) @ columns.T
    sums = sums.swapaxes(1, 2)
    out[i] = np.floor(sums / np.float32(row_sum * column_sum) + np.float32(0.5))
  return out


def _content_box(height: int, width: int, size: int) -> tuple[int, int, int, int]:
  """Returns top, left, height and width of the picture in its letterbox."""
  longest = max(height, width)
  # Rounded half up, and at least one pixel.
  content_height = max(1, (2 * height * size + longest) // (2 * longest))
  content_width = max(1, (2 * width * size + longest) // (2 * longest))
  top, left = (size - content_height) // 2, (size - content_width) // 2
  return top, left, content_height, content_width


def _transform(scale_x: float, scale_y: float, left: Number, top: Number) -> Transform:
  # Area interpolation scales about the corner of the picture, which is half a pixel
  # from the centre of the first pixel.
  offset = (0.5 * scale_x - 0.5 + left, 0.5 * scale_y - 0.5 + top)
  return Transform((scale_x, scale_y), offset)


def letterbox(
  frames: UInt8[np.ndarray, "n h w c"], size: int
) -> tuple[UInt8[np.ndarray, "n {size} {size} c"], Transform]:
  """Scales the longer side to `size` and pads the shorter one with black.

  Returns:
    The frames, and the map from source pixels to theirs.
  """
  num, height, width, channels = frames.shape
  top, left, content_height, content_width = _content_box(height, width, size)
  out = np.zeros((num, size, size, channels), np.uint8)
  out[:, top : top + content_height, left : left + content_width] = resize_area(
    frames, content_height, content_width
  )
  return out, _transform(content_width / width, content_height / height, left, top)


def crop_square(
  frames: UInt8[np.ndarray, "n h w c"], size: int
) -> tuple[UInt8[np.ndarray, "n {size} {size} c"], Transform]:
  """Crops the middle square and scales it to `size`.

  Returns:
    The frames, and the map from source pixels to theirs (cropped ones map outside).
  """
  _, height, width, _ = frames.shape
  side = min(height, width)
  top, left = (height - side) // 2, (width - side) // 2
  square = frames[:, top : top + side, left : left + side]
  scale = size / side
  return resize_area(square, size, size), _transform(
    scale, scale, -left * scale, -top * scale
  )


def fit_short_side(
  frames: UInt8[np.ndarray, "n h w c"], size: int
) -> tuple[UInt8[np.ndarray, "n h2 w2 c"], Transform]:
  """Scales the shorter side to `size`, and crops the longer one to at most 3 * `size`.

  Returns:
    The frames, and the map from source pixels to theirs (cropped ones map outside).
  """
  _, height, width, _ = frames.shape
  longest = 3 * min(height, width)
  top, left = max(height - longest, 0) // 2, max(width - longest, 0) // 2
  cut = frames[:, top : top + longest, left : left + longest]
  _, height, width, _ = cut.shape
  shortest = min(height, width)
  # Rounded half up.
  new_height = (2 * height * size + shortest) // (2 * shortest)
  new_width = (2 * width * size + shortest) // (2 * shortest)
  scale_x, scale_y = new_width / width, new_height / height
  return resize_area(cut, new_height, new_width), _transform(
    scale_x, scale_y, -left * scale_x, -top * scale_y
  )


PERSON = "person"
FRAMINGS = {"letterbox": letterbox, "crop": crop_square, PERSON: fit_short_side}


def frame_nearest(
  maps: Shaped[np.ndarray, "n h w"], size: int, transform: Transform
) -> Shaped[np.ndarray, "n {size} {size}"]:
  """Applies `transform` to label maps, which cannot be averaged.

  Returns:
    Maps of the nearest source pixel's labels; 0 outside of the source.
  """
  _, height, width = maps.shape
  (scale_x, scale_y), (offset_x, offset_y) = transform.scale, transform.offset
  grid = np.arange(size)
  x = np.floor((grid - offset_x) / scale_x + 0.5).astype(np.int64)
  y = np.floor((grid - offset_y) / scale_y + 0.5).astype(np.int64)
  inside = ((y >= 0) & (y < height))[:, None] & ((x >= 0) & (x < width))[None]
  picked = maps[:, np.clip(y, 0, height - 1)[:, None], np.clip(x, 0, width - 1)[None]]
  return np.where(inside, picked, 0).astype(maps.dtype)
