"""The benchmark of pictures of people: what it times is what draws."""

import dataclasses

import numpy as np

from benchmarks.people import timed_painters
from dabfusion_jax.inference import layers


def test_the_time_of_drawing_is_measured(monkeypatch):
  frames = np.zeros((2, 8, 8, 3), np.uint8)

  @dataclasses.dataclass
  class Busy:
    def paint(self, motion):
      sum(range(200_000))
      return frames

  monkeypatch.setattr(layers.Layers, "painter", lambda self, rebuilt: Busy())
  blank = object.__new__(layers.Layers)
  with timed_painters() as painters:
    painter = blank.painter(frames[0])
    assert painter.paint(None) is frames
  assert [p is painter for p in painters] == [True]
  assert painter.seconds > 0
