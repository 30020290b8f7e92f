"""The clip's grid in time and space: which frames, and which pixels of them.

One treatment for every source: the film frame nearest to `t0 + k / fps`, then area
interpolation to a square: letterboxed (1920x1080 fills rows 28..99 of 128), the middle
cropped, or the person (by `data_pipeline.cutting.person`, of frames that keep their
longer side). Numpy alone; coordinates have integers at pixel centres.
"""

import dataclasses
import math
from fractions import Fraction

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64, Shaped, UInt8

Number = int | float | Fraction


@dataclasses.dataclass(frozen=True)
class Transform:
  """Where a source pixel comes to lie: `output = source * scale + offset`, (x, y)."""

  scale: tuple[float, float]
  offset: tuple[float, float]

  def __call__(self, points: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 2"]:
    """Maps (x, y) positions, in pixels with integers at the centres."""
    scale = np.asarray(self.scale, points.dtype)
    return points * scale + np.asarray(self.offset, points.dtype)


def resample_times(
  num_frames: int, fps: Number, start_seconds: Number
) -> Float64[np.ndarray, "n"]:
  """The moments `start + k / fps` of a clip's frames, in seconds."""
  return start_seconds + np.arange(num_frames) / float(fps)


def nearest_frames(
  video_times: Float64[np.ndarray, "m"], wanted_times: Float64[np.ndarray, "n"]
) -> Int64[np.ndarray, "n"]:
  """The frame nearest to each moment; of two equally near ones the earlier.

  Args:
    video_times: time stamps, ascending; they need not be even.
    wanted_times: moments, ascending.
  """
  # A microsecond keeps ties (10 fps read at 20) from hanging on the last bit.
  middles = (video_times[1:] + video_times[:-1]) / 2 + 1e-6
  return np.searchsorted(middles, wanted_times, side="left").astype(np.int64)


def _overlaps(size_in: int, size_out: int) -> tuple[Float32[np.ndarray, "o i"], int]:
  """How much of each source pixel an output pixel covers, in whole units.

  Whole numbers keep the sums exact in float32 for all usual sizes, so that every
  machine rounds to the same byte. The rows sum to the second value.
  """
  common = math.gcd(size_in, size_out)
  units_in, units_out = size_in // common, size_out // common
  # On a ruler with units_out marks a source pixel, an output pixel is units_in long.
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
  """Area interpolation: each output pixel is the mean of what it covers."""
  num, height_in, width_in, channels = frames.shape
  if (height_in, width_in) == (height, width):
    return frames
  rows, row_sum = _overlaps(height_in, height)
  columns, column_sum = _overlaps(width_in, width)
  out = np.empty((num, height, width, channels), np.uint8)
  for i, frame in enumerate(frames):  # one at a time: film frames are large in float
    part = rows @ frame.reshape(height_in, -1).astype(np.float32)
    # One large product; matrix times three channels would be many tiny ones.
    part = part.reshape(height, width_in, channels).swapaxes(1, 2) @ columns.T
    part = part.swapaxes(1, 2)
    out[i] = np.floor(part / np.float32(row_sum * column_sum) + np.float32(0.5))
  return out


def _content_box(height: int, width: int, size: int) -> tuple[int, int, int, int]:
  """Rows and columns of the picture in its letterbox: top, left, height, width."""
  longest = max(height, width)
  # Halves up, and never nothing.
  content_height = max(1, (2 * height * size + longest) // (2 * longest))
  content_width = max(1, (2 * width * size + longest) // (2 * longest))
  top, left = (size - content_height) // 2, (size - content_width) // 2
  return top, left, content_height, content_width


def _transform(scale_x: float, scale_y: float, left: Number, top: Number) -> Transform:
  # Area interpolation scales about the corner of the picture, half a pixel from the
  # centre of the first pixel.
  offset = (0.5 * scale_x - 0.5 + left, 0.5 * scale_y - 0.5 + top)
  return Transform((scale_x, scale_y), offset)


def letterbox(
  frames: UInt8[np.ndarray, "n h w c"], size: int
) -> tuple[UInt8[np.ndarray, "n {size} {size} c"], Transform]:
  """Scales the longer side to `size` and fills up with black.

  Returns:
    The frames, and where source pixels went.
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
  """Cuts the middle square out and scales it to `size`.

  Returns:
    The frames, and where source pixels went (outside for what was cut off).
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
  """Scales the shorter side to `size`; the longer one keeps at most three times that.

  Returns:
    The frames, and where source pixels went (outside for what was cut off).
  """
  _, height, width, _ = frames.shape
  longest = 3 * min(height, width)
  top, left = max(height - longest, 0) // 2, max(width - longest, 0) // 2
  cut = frames[:, top : top + longest, left : left + longest]
  _, height, width, _ = cut.shape
  shortest = min(height, width)
  # Halves up.
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
  """Puts label maps where the frames went, each pixel by its nearest source pixel.

  Labels must not be averaged. Zero where there is no source.
  """
  _, height, width = maps.shape
  (scale_x, scale_y), (offset_x, offset_y) = transform.scale, transform.offset
  grid = np.arange(size)
  x = np.floor((grid - offset_x) / scale_x + 0.5).astype(np.int64)
  y = np.floor((grid - offset_y) / scale_y + 0.5).astype(np.int64)
  inside = ((y >= 0) & (y < height))[:, None] & ((x >= 0) & (x < width))[None]
  picked = maps[:, np.clip(y, 0, height - 1)[:, None], np.clip(x, 0, width - 1)[None]]
  return np.where(inside, picked, 0).astype(maps.dtype)
