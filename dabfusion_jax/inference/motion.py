"""The motion of a dance, drawn window by window."""

import concurrent.futures
import contextvars
import dataclasses
import functools
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float32, UInt8

from dabfusion_jax.diffusion.windows import Joiner, Windows
from dabfusion_jax.inference.batch import make_batch
from dabfusion_jax.inference.sampler import BatchSampler
from dabfusion_jax.inference.song import Song

WINDOWS, CHAIN = "windows", "chain"  # how windows of a longer dance are joined
OVERLAP_SHARE = 4  # a quarter of a window is shared with the next one
# (batch, example numbers, callback, joiner) -> flow and occlusion, [b t s s 2 or 1].
Draw = Callable[..., tuple[jax.Array, jax.Array]]


@dataclasses.dataclass(frozen=True)
class Motion:
  """The motion of a window, as generated.

  Attributes:
    flow: sampling grids in [-1, 1].
    occlusion: in [0, 1].
    decode: draws the network's frames, once: not every picture needs them.
    num_kept: how many of the frames, from the first on, are part of the dance; the
      others are drawn again in the next window.
    is_last: whether the dance ends with them.
  """

  flow: Float32[np.ndarray, "t s s 2"]
  occlusion: Float32[np.ndarray, "t s s 1"]
  decode: Callable[[], UInt8[np.ndarray, "t n n 3"]]
  num_kept: int
  is_last: bool

  @property
  def decoded(self) -> UInt8[np.ndarray, "t n n 3"]:
    """The network's frames."""
    return self.decode()


def make_windows(size: int, joining: str) -> Windows:
  """Returns the windows of a dance.

  Args:
    size: frames that are drawn at once.
    joining: `CHAIN`: a window begins with the frame that the one before ends with; or
      `WINDOWS`.
  """
  return Windows(size, 1 if joining == CHAIN else max(1, size // OVERLAP_SHARE))


def draw_motions(
  draw: Draw,
  sampler: BatchSampler,
  z: Float32[Array, "b s s c"],
  songs: Sequence[Song],
  num_frames: Sequence[int],
  fps: float,
  size: int,
  joining: str,
  callback: Callable[[int, int], None],
) -> Iterator[list[Motion | None]]:
  """Yields the motion of dances, window by window; memory holds one window of each.

  A window's music and beats are those of its own seconds, as in training. In a chain,
  the picture of a window is the last frame of the one before (paper, table 7). Noise
  depends on the window alone, so a dance is the same whatever it is drawn beside.

  Args:
    draw: draws a window.
    sampler: encodes and decodes.
    z: latents of the b pictures.
    songs: b pieces of music that are danced to.
    num_frames: of each dance.
    fps: frames per second.
    size: frames of a window.
    joining: see `make_windows`.
    callback: called after each step with (steps done, steps in all).

  Yields:
    For each window the motion of each dance, None for those that have ended.
  """
  windows = make_windows(size, joining)
  counts = [windows.count(num) for num in num_frames]
  count = max(counts)
  joiner = Joiner(windows) if count > 1 and joining != CHAIN else None
  for index in range(count):
    # The row of a dance that has ended is drawn all the same: one shape, one program.
    starts = [windows.start(min(index, own - 1)) / fps for own in counts]
    conditions = [
      song.condition(start, size / fps)
      for song, start in zip(songs, starts, strict=True)
    ]
    show = functools.partial(_show, callback, index, count)
    begins = index == 0 or joining == CHAIN
    batch = make_batch(z, conditions, size, fps, begins)
    motion = draw(batch, [index] * len(songs), show, joiner)
    decode = functools.cache(functools.partial(sampler.decode, z, *motion))
    if joining == CHAIN and index + 1 < count:
      z = sampler.encode(decode()[:, -1])
    flow, occlusion = map(np.asarray, motion)
    made: list[Motion | None] = [None] * len(songs)
    for i, own in enumerate(counts):
      if index < own:
        kept = windows.num_kept(index, num_frames[i])
        row = functools.partial(_row, decode, i)
        made[i] = Motion(flow[i], occlusion[i], row, kept, index + 1 == own)
    yield made


def draw_ahead(
  make: Callable[[Callable[[int, int], None]], Iterator[list[Motion | None]]],
  callback: Callable[[int, int], None] | None,
) -> Iterator[list[Motion | None]]:
  """Yields what `make` draws; a thread draws the next while the caller uses this one.

  If the iterator is closed, the thread stops after its step.

  Args:
    make: takes what is to be called after each step; its iterator yields no None.
    callback: called after each step, by the thread, with (steps done, steps in all).
  """
  is_closed = threading.Event()

  def show(done: int, steps: int) -> None:
    if is_closed.is_set():
      raise concurrent.futures.CancelledError
    if callback is not None:
      callback(done, steps)

  windows = make(show)
  # What callbacks know of their caller, such as the user of a web page, lies there.
  run = contextvars.copy_context().run
  with concurrent.futures.ThreadPoolExecutor(max_workers=1) as thread:
    try:
      following = thread.submit(run, next, windows, None)
      while (window := following.result()) is not None:
        following = thread.submit(run, next, windows, None)
        yield window
    finally:
      is_closed.set()


def motions_of(
  windows: Iterable[list[Motion | None]], rows: slice
) -> Iterator[tuple[Motion, ...]]:
  """Yields the motion of one of the dances that `draw_motions` draws.

  Args:
    windows: of all of them.
    rows: of the people of this one.
  """
  for window in windows:
    motions = tuple(window[rows])
    if None in motions:
      return
    yield motions


def _row(decode: Callable[[], np.ndarray], index: int) -> np.ndarray:
  return decode()[index]


def _show(
  callback: Callable[[int, int], Any], index: int, count: int, done: int, steps: int
) -> None:
  """Tells of the steps of one window of many."""
  callback(index * steps + done, count * steps)
