"""Times what draws the layers of a dance."""

import contextlib
import dataclasses
import time
from collections.abc import Iterator
from typing import Any
from unittest import mock

from dabfusion_jax.inference import layers
from dabfusion_jax.inference.motion import Motion
from dabfusion_jax.inference.painter import Frames, Painter


@dataclasses.dataclass
class TimedPainter:
  """Draws as another painter does, and adds up its CPU time.

  CPU time of all threads: other work on the machine does not count.
  """

  painter: Painter
  seconds: float = 0.0

  @property
  def times(self) -> int:
    return self.painter.times

  def paint(self, motion: Motion) -> Iterator[Frames]:
    started = time.process_time()
    for frames in self.painter.paint(motion):
      self.seconds += time.process_time() - started
      yield frames
      started = time.process_time()
    self.seconds += time.process_time() - started


@contextlib.contextmanager
def timed_painters() -> Iterator[list[TimedPainter]]:
  """Yields the list of what draws layers from here on, timed."""
  painters: list[TimedPainter] = []
  make = layers.Layers.painter

  def make_timed(self: layers.Layers, *arguments: Any) -> Painter:
    painters.append(TimedPainter(make(self, *arguments)))
    return painters[-1]

  with mock.patch.object(layers.Layers, "painter", make_timed):
    yield painters
