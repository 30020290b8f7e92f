"""The benchmark of pictures of people: what it times is what draws."""

import dataclasses

import numpy as np

from benchmarks.people import foot_sliding, mean_of
from benchmarks.timed_painter import timed_painters
from dabfusion_jax.inference import layers


def test_the_time_of_drawing_is_measured(monkeypatch):
  frames = np.zeros((2, 8, 8, 3), np.uint8)

  @dataclasses.dataclass
  class Busy:
    times: int = 3

    def paint(self, motion):
      sum(range(200_000))
      yield frames
      sum(range(200_000))

  monkeypatch.setattr(layers.Layers, "painter", lambda self, *arguments: Busy())
  blank = object.__new__(layers.Layers)
  with timed_painters() as painters:
    painter = blank.painter(8, lambda: frames[0], None)
    assert [x is frames for x in painter.paint(None)] == [True]
    assert painter.times == 3
  assert [p is painter for p in painters] == [True]
  assert painter.seconds > 0


def test_a_mean_is_of_what_is_known():
  assert mean_of([1.0, None, np.nan, 2.0]) == 1.5
  assert mean_of([None, np.nan]) is None


def test_only_the_lower_foot_slides():
  joints = np.zeros((5, 13, 2))
  joints[:, 1:3, 1], joints[:, 7:9, 1] = 0, 10  # a trunk of 10 pixels
  joints[:, 11:13, 1] = 30, 28
  visible = np.ones((5, 13), bool)
  joints[:, 12, 0] = 5 * np.arange(5)  # the higher one
  assert foot_sliding(joints, visible, 10.0) == 0
  joints[:, 11, 0] = 2 * np.arange(5)
  np.testing.assert_allclose(foot_sliding(joints, visible, 10.0), 2.0)
