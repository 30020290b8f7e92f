"""Where a film was cut: windows must not run from one shot into the next."""

import os

import numpy as np
from jaxtyping import Float32

from data_pipeline.cutting.windows import Segment
from data_pipeline.media import reader
from data_pipeline.media.framing import nearest_frames, resize_area

SAMPLES_PER_SECOND = 10  # looked at; a cut is found to a tenth of a second
_SIDE = 32  # pixels of the thumbnails
_MIN_CHANGE = 20.0  # grey levels, mean over the picture
_MIN_RATIO = 3.0  # to the usual change nearby: a wild dance is no cut
_NEARBY = 10  # samples on either side


def find_shots(path: str | os.PathLike) -> list[Segment]:
  """The shots of a film, as seconds from its first frame: begin and end.

  Hard cuts only: from one tenth of a second to the next the picture changes by more
  than 20 grey levels on average, and by more than three times what it does nearby.

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
  # The new shot begins somewhere after the last frame of the old one that was seen.
  segments, begin = [], 0.0
  for cut in find_cuts(changes):
    segments.append((begin, float(times[frames[cut]]) + 1e-6))
    begin = float(times[frames[cut + 1]])
  return [*segments, (begin, np.inf)]


def find_cuts(changes: Float32[np.ndarray, "n"]) -> list[int]:
  """The indices of changes that are cuts."""
  cuts = []
  for i, change in enumerate(changes):
    if change > _MIN_CHANGE:
      around = np.r_[changes[max(i - _NEARBY, 0) : i], changes[i + 1 : i + 1 + _NEARBY]]
      if not len(around) or change > _MIN_RATIO * np.median(around):
        cuts.append(i)
  return cuts
