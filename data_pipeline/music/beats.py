"""Cuts the beats of a song to a clip's window, and puts them on its frames."""

import numpy as np
from jaxtyping import Float, Float32, Float64

from data_pipeline.media.framing import Number


def slice_beats(
  times: Float64[np.ndarray, "n"], start_seconds: Number, seconds: Number
) -> Float64[np.ndarray, "m"]:
  """Returns the beats of a window in seconds from its start.

  One beat beyond either edge is included, if the song has it, so that every frame has
  a beat before and after it.
  """
  first = np.searchsorted(times, start_seconds, side="left")
  last = np.searchsorted(times, start_seconds + seconds, side="left")
  return times[max(first - 1, 0) : last + 1] - start_seconds


def _from_start(times: np.ndarray, start_seconds: Number) -> np.ndarray:
  # Rounded to a nanosecond, so that halves are exact after the subtraction.
  return np.round(np.asarray(times, np.float64) - float(start_seconds), 9)


def beat_vector(
  times: Float[np.ndarray, "n"],
  start_seconds: Number,
  num_frames: int,
  fps: Number,
) -> Float32[np.ndarray, "num_frames"]:
  """Returns 1 on the frame nearest to each beat of the window, and 0 elsewhere.

  A beat t seconds into the window, 0 <= t < num_frames / fps, sets frame
  round(t * fps), rounded half up, or the last frame if there is no such frame.
  """
  t = _from_start(times, start_seconds)
  t = t[(t >= 0) & (t < num_frames / float(fps))]
  frames = np.floor(np.round(t * float(fps), 6) + 0.5).astype(np.int64)
  vector = np.zeros(num_frames, np.float32)
  vector[np.minimum(frames, num_frames - 1)] = 1.0
  return vector


def beat_features(
  times: Float[np.ndarray, "n"],
  start_seconds: Number,
  num_frames: int,
  fps: Number,
) -> Float32[np.ndarray, "num_frames 5"]:
  """Computes the position of each frame relative to the beats.

  Returns:
    [is a beat (as `beat_vector`), sin and cos of the phase (0 on the beat), seconds
    since the last beat, seconds to the next]. Beyond the first and last beat the grid
    continues at the nearest interval. With fewer than two beats the last four are zero,
    without any beat all five are.
  """
  features = np.zeros((num_frames, 5), np.float32)
  features[:, 0] = beat_vector(times, start_seconds, num_frames, fps)
  grid = np.unique(_from_start(times, start_seconds))
  if len(grid) < 2:
    return features
  now = np.arange(num_frames) / float(fps)
  after = np.searchsorted(grid, now + 1e-9, side="right")  # index of the next beat
  inside = np.clip(after, 1, len(grid) - 1)
  interval = grid[inside] - grid[inside - 1]
  since = now - grid[inside - 1]
  outside = (after == 0) | (after == len(grid))
  since = np.where(outside, np.mod(since + 1e-9, interval) - 1e-9, since)
  phase = 2 * np.pi * since / interval
  features[:, 1:] = np.stack(
    [np.sin(phase), np.cos(phase), since, interval - since], axis=1
  )
  return features
