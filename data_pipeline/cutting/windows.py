"""Chooses where the windows of a video begin."""

import dataclasses
import itertools
import math
import zlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from data_pipeline.errors import UserError

POLICIES = ("first", "random", "strided", "spread")
_SYNTAX = "first, random:COUNT, strided:SECONDS or spread:SECONDS"
WHOLE_TRACK = ((0.0, math.inf),)
_STILL_SECONDS = 0.5  # a frame that stays longer is a pause, unless most do

Segment = tuple[float, float]  # begin and end, in seconds from the first frame


def ends_of_pauses(times: Float64[np.ndarray, "m"]) -> Float64[np.ndarray, "k"]:
  """Returns the times of frames that follow a pause, as of the recording."""
  steps = np.diff(times, prepend=times[:1])
  return times[steps > max(_STILL_SECONDS, 2 * np.median(steps))]


@dataclasses.dataclass(frozen=True)
class Windows:
  """A policy for the windows of one video.

  Attributes:
    policy: `first` (one window, at the start), `random` (`amount` windows, each at a
      random place in a part of its own), `strided` (one every `amount` seconds, as many
      as fit) or `spread` (as many as `strided`, each at a random place in a part of its
      own of every shot). Random places are drawn from the video's name.
    amount: number of windows, or seconds.
  """

  policy: str = "random"
  amount: int | float = 1

  def __post_init__(self) -> None:
    is_whole = float(self.amount).is_integer()
    if (
      self.policy not in POLICIES
      or not 0 < self.amount < math.inf
      or (self.policy == "random" and not is_whole)
    ):
      raise UserError(f"Unknown windows {self}; write {_SYNTAX}.")

  @classmethod
  def parse(cls, text: str) -> "Windows":
    """Parses `first`, `random:2` or `spread:2.5`; raises UserError otherwise."""
    policy, _, amount = text.partition(":")
    try:
      return cls(policy, float(amount or 1))
    except ValueError:
      raise UserError(f"Unknown windows {text!r}; write {_SYNTAX}.") from None

  def __str__(self) -> str:
    return self.policy if self.policy == "first" else f"{self.policy}:{self.amount:g}"

  def starts(
    self,
    name: str,
    times: Float64[np.ndarray, "m"],
    num_frames: int,
    fps: int,
    segments: Sequence[Segment] = WHOLE_TRACK,
  ) -> Float64[np.ndarray, "k"]:
    """Returns where the windows begin.

    Windows that begin on the beat grid would reveal the beats to a model that does not
    listen, hence `random` and `spread`, in milliseconds.

    Args:
      name: of the video; seeds the random places.
      times: of its frames, in seconds from the first one.
      num_frames, fps: of the window.
      segments: shots; each window lies within one, and between pauses.

    Returns:
      Seconds from the first frame, ascending; empty if no window fits.
    """
    frame_seconds = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    begins, spares = [], []
    pauses = ends_of_pauses(times)
    shots = [times[(times >= begin) & (times < end)] for begin, end in segments]
    parts = [np.split(shot, np.searchsorted(shot, pauses)) for shot in shots]
    for inside in itertools.chain(*parts):
      if len(inside):
        spare = inside[-1] - inside[0] - (num_frames - 1) / fps
        # A window as long as the video must not be lost to rounding; and in a film of
        # fewer frames per second than the clip, the last one stays for longer.
        missing = max(0.5 * frame_seconds, frame_seconds - 1 / fps)
        if spare >= -missing - 1e-6:
          begins.append(float(inside[0]))
          spares.append(max(float(spare), 0.0))
    if not begins:
      return np.zeros(0)
    if self.policy == "first":
      return np.asarray(begins[:1])
    counts = [int(spare / self.amount + 1e-6) + 1 for spare in spares]
    if self.policy == "strided":
      return np.concatenate(
        [b + self.amount * np.arange(n) for b, n in zip(begins, counts, strict=True)]
      )
    rng = np.random.default_rng(zlib.crc32(f"window|{name}".encode()))

    def draw_places(count: int, length: float) -> np.ndarray:
      return (np.arange(count) + rng.random(count)) / count * length

    if self.policy == "spread":
      shot = np.repeat(np.arange(len(begins)), counts)
      offsets = np.concatenate(list(map(draw_places, counts, spares)))
    else:
      along = draw_places(int(self.amount), sum(spares))
      edges = np.concatenate([[0.0], np.cumsum(spares)])
      shot = np.searchsorted(edges, along, side="right") - 1
      shot = np.clip(shot, 0, len(begins) - 1)
      offsets = along - edges[shot]
    starts = np.asarray(begins)[shot] + offsets
    # Rounded up if rounding down would leave the shot. Shots that just fit have one
    # place for a window, however many are asked for.
    starts = np.maximum(np.floor(starts * 1000) / 1000, np.asarray(begins)[shot])
    return np.unique(starts)
