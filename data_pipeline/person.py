"""Where the dancer is, told by what moves before a still background.

No network, no weights: it serves a camera that stands still, one person who moves, and
leaves the middle of the picture where it finds neither.
"""

import numpy as np
from jaxtyping import UInt8

from data_pipeline.framing import Transform

_MIN_CHANGE = 24  # grey levels: more than noise and codecs make
_MIN_MOVING = 2e-4  # share of all pixels; less is nobody
_MAX_MOVING = 0.3  # more is the camera


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
  spare = frames.shape[axis] - side
  start = min(max(round(find_person(frames, axis) - side / 2), 0), spare)
  offset = np.asarray(transform.offset) - (start * np.array([axis == 2, axis == 1]))
  cut = frames[:, start : start + side] if axis == 1 else (
    frames[:, :, start : start + side]
  )  # fmt: skip
  return cut, Transform(transform.scale, (float(offset[0]), float(offset[1])))


def find_person(frames: UInt8[np.ndarray, "t h w c"], axis: int) -> float:
  """The place along an axis, in pixels, with as much motion before as behind it.

  Motion is what differs from the median of all frames. A median of places, not a
  mean: a passer-by at the edge moves it little. The middle, if nothing or nearly
  everything moves.
  """
  still = np.median(frames, axis=0).astype(np.int16)
  moving = [np.abs(frame - still).max(axis=-1) > _MIN_CHANGE for frame in frames]
  profile = np.sum(moving, axis=(0, 3 - axis))
  share = profile.sum() / np.prod(frames.shape[:3])
  if not _MIN_MOVING < share < _MAX_MOVING:
    return frames.shape[axis] / 2
  return float(np.searchsorted(np.cumsum(profile), profile.sum() / 2)) + 0.5
