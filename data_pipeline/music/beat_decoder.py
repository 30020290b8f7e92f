"""Decodes the beats of a song from the activations of a network.

The beats are the most probable path of a bar pointer: a beat lasts a whole number of
frames, its first sixteenth is heard as a beat or downbeat and the rest as neither, and
its length changes from beat to beat with a probability that falls off exponentially.
Source: Krebs, Böck and Widmer, An efficient state space model for joint tempo and meter
tracking, ISMIR 2015; Böck, Krebs and Widmer, Joint beat and downbeat tracking with
recurrent neural networks, ISMIR 2016. They step from frame to frame; steps of whole
beats, as here, find the same path.
"""

import dataclasses

import numpy as np
from jaxtyping import Float, Float64, Int64

from data_pipeline.media.framing import Number

BPM_RANGE = (55.0, 215.0)
BEATS_PER_BAR = (3, 4)
TEMPO_LAMBDA = 100.0  # a change of the interval by 1 % is e times less probable
BEAT_SHARE = 16  # the beat is heard in the first 1/16 of the interval
GIVEN_RANGE = 0.06  # by which a tempo that is given may be missed
_FLOOR = 1e-7  # of a probability
# One row of states per beat of each kind of bar, and the row of the beat before.
_ROWS = [(meter, beat) for meter in BEATS_PER_BAR for beat in range(meter)]
_BEFORE = [_ROWS.index((meter, (beat - 1) % meter)) for meter, beat in _ROWS]
_KIND = np.array([int(beat == 0) for _, beat in _ROWS])  # 1: a downbeat


@dataclasses.dataclass(frozen=True)
class BeatPath:
  """The beats of a song.

  Attributes:
    frames: of the activations' peaks at the beats, ascending.
    positions: of the beats in their bars; 0 is the downbeat.
    score: log-likelihood of all activations.
  """

  frames: Float64[np.ndarray, "n"]
  positions: Int64[np.ndarray, "n"]
  score: float


def decode(
  activations: Float[np.ndarray, "t 2"], fps: Number, bpm: Number | None = None
) -> BeatPath:
  """Returns the most probable beats.

  A song may begin and end anywhere in a beat, and is counted in 3 or 4 throughout.

  Args:
    activations: probability of a beat that is no downbeat, and of a downbeat, per
      frame.
    fps: frames per second.
    bpm: the tempo, which the beats keep to within 6 %, or one frame per beat if that is
      more; within `BPM_RANGE` if None.
  """
  low, high = BPM_RANGE
  if bpm is not None:
    low, high = bpm * (1 - GIVEN_RANGE), bpm * (1 + GIVEN_RANGE)
  intervals = np.arange(round(60 * fps / high), round(60 * fps / low) + 1)
  lattice = _Lattice(activations, intervals)
  starts, rows = lattice.best_path()
  loud = activations.sum(axis=1)
  ends = starts + heard_frames(np.diff(starts, append=starts[-1:]))
  spans = zip(starts.tolist(), ends.tolist(), strict=True)
  frames = np.array([_peak(loud, *span) for span in spans], np.float64)
  positions = np.array([_ROWS[row][1] for row in rows], np.int64)
  return BeatPath(frames, positions, lattice.score)


class _Lattice:
  """All ways to lay beats over a song, and the best way to reach each beat.

  The best score of a beat that begins at a frame, by row and interval, is kept for the
  last frames only, as a ring: no beat reaches further back. Beats that began before the
  song all have the score 0.
  """

  def __init__(
    self, activations: Float[np.ndarray, "t 2"], intervals: Int64[np.ndarray, "i"]
  ) -> None:
    self.num_frames, self.intervals = len(activations), intervals
    self._heard = heard_frames(intervals)
    heard = np.maximum(activations.astype(np.float64), _FLOOR)
    rest = np.maximum(1 - activations.sum(axis=1, dtype=np.float64), _FLOOR)
    densities = np.stack([rest / (BEAT_SHARE - 1), heard[:, 0], heard[:, 1]])
    self._sums = np.pad(np.log(densities).cumsum(axis=1), ((0, 0), (1, 0)))
    ratios = intervals[None, :] / intervals[:, None]
    change = -TEMPO_LAMBDA * np.abs(ratios - 1)
    self._change = change - np.log(np.exp(change).sum(axis=1, keepdims=True))
    self._size = int(intervals.max()) + 1
    self._ring = np.zeros((self._size, len(_ROWS), len(intervals)))
    self._origins = np.zeros((self.num_frames, *self._ring.shape[1:]), np.uint8)
    self._fill()
    self.score, self._last = self._find_last()

  def best_path(self) -> tuple[Int64[np.ndarray, "n"], list[int]]:
    """Returns the frames at which the beats of the best path begin, and their rows."""
    frame, row, column = self._last
    starts, rows = [], []
    # A beat that began just before the song is still heard at its first frame.
    while frame + self._heard[column] > 0:
      starts.append(max(frame, 0))
      rows.append(row)
      if frame <= 0:
        break
      column = int(self._origins[frame, row, column])
      row = _BEFORE[row]
      frame -= int(self.intervals[column])
    return np.array(starts[::-1], np.int64), rows[::-1]

  def _beats(self, starts: Int64[np.ndarray, "t i"]) -> Float64[np.ndarray, "2 t i"]:
    """Scores beats and downbeats of each interval, or what of them lies in the song."""
    corners = (starts, starts + self._heard, starts + self.intervals)
    start, split, end = (np.clip(frames, 0, self.num_frames) for frames in corners)
    rest = self._sums[0, end] - self._sums[0, split]
    return self._sums[1:, split] - self._sums[1:, start] + rest

  def _fill(self) -> None:
    columns = np.arange(len(self.intervals))
    starts = np.arange(self.num_frames)[:, None] - self.intervals
    beats = self._beats(starts)
    for frame in range(1, self.num_frames):
      ended = self._ring[starts[frame] % self._size, :, columns].T
      ended = ended + beats[_KIND, frame]
      reached = ended[_BEFORE][:, :, None] + self._change
      self._origins[frame] = reached.argmax(axis=1)
      self._ring[frame % self._size] = reached.max(axis=1)

  def _find_last(self) -> tuple[float, tuple[int, int, int]]:
    """Returns the best score, and frame, row and column of the last beat it has."""
    best = (-np.inf, (-self._size, 0, 0))
    for frame in range(self.num_frames - self._size + 1, self.num_frames):
      starts = np.full((1, len(self.intervals)), frame)
      scores = self._beats(starts)[_KIND, 0]
      if frame >= 0:
        scores = scores + self._ring[frame % self._size]
      scores = np.where(frame + self.intervals >= self.num_frames, scores, -np.inf)
      row, column = np.unravel_index(scores.argmax(), scores.shape)
      best = max(best, (float(scores[row, column]), (frame, int(row), int(column))))
    return best


def heard_frames(lengths: Int64[np.ndarray, "n"]) -> Int64[np.ndarray, "n"]:
  """Returns in how many frames beats of these lengths are heard; at least one."""
  return np.maximum(-(-lengths // BEAT_SHARE), 1)


def _peak(loud: Float[np.ndarray, "t"], start: int, end: int) -> float:
  """Returns where between two frames the activations peak, by a parabola."""
  top = int(start + loud[start:end].argmax())
  if not 0 < top < len(loud) - 1:
    return float(top)
  left, middle, right = loud[top - 1 : top + 2]
  curve = left - 2 * middle + right
  if curve >= 0:
    return float(top)
  return top + float(np.clip(0.5 * (left - right) / curve, -0.5, 0.5))
