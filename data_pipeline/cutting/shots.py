"""Finds the cuts of a video, so that no window runs from one shot into the next."""

import numpy as np
from etils.epath import PathLike
from jaxtyping import Float32

from data_pipeline.cutting.windows import Segment
from data_pipeline.media import reader
from data_pipeline.media.framing import nearest_frames, resize_area

SAMPLES_PER_SECOND = 10  # a cut is located to a tenth of a second
_SIDE = 32  # pixels of the thumbnails
_MIN_CHANGE = 20.0  # grey levels, mean over the picture
_MIN_RATIO = 3.0  # to the median change nearby, to tell a cut from a wild dance
_NEARBY = 10  # samples on either side


def find_shots(path: PathLike) -> list[Segment]:
  """Finds the shots of a video.

  Only hard cuts are found: from one tenth of a second to the next the picture changes
  by more than 20 grey levels on average, and by more than three times the median change
  nearby.

  Returns:
    Begin and end of each shot, in seconds from the first frame.

  Raises:
    MediaError: the file cannot be used.
  """
  times = reader.frame_times(path)
  grid = np.arange(0, times[-1], 1 / SAMPLES_PER_SECOND)
  if len(grid) < 2:
    return [(0.0, np.inf)]
  frames = np.unique(nearest_frames(times, grid))
  thumbnails = [
    resize_area(image[None], _SIDE, _SIDE)[0].astype(np.float32)
    for image in reader.read_frames(path, frames)
  ]
  changes = np.abs(np.diff(np.stack(thumbnails), axis=0)).mean(axis=(1, 2, 3))
  # The new shot begins somewhere after the last frame seen of the old one.
  segments, begin = [], 0.0
  for cut in find_cuts(changes):
    segments.append((begin, float(times[frames[cut]]) + 1e-6))
    begin = float(times[frames[cut + 1]])
  return [*segments, (begin, np.inf)]


def find_cuts(changes: Float32[np.ndarray, "n"]) -> list[int]:
  """Returns the indices of the changes that are cuts."""
  cuts = []
  for i, change in enumerate(changes):
    if change > _MIN_CHANGE:
      nearby = np.r_[changes[max(i - _NEARBY, 0) : i], changes[i + 1 : i + 1 + _NEARBY]]
      if not len(nearby) or change > _MIN_RATIO * np.median(nearby):
        cuts.append(i)
  return cuts
