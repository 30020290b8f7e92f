"""Landmarks of the network are told in pixels of the picture, depth included."""

import dancers
import numpy as np

from dabfusion_jax.people.landmarks import LandmarkNetwork, Landmarks
from dabfusion_jax.people.squares import Square


def test_points_and_depth_of_the_network_are_pixels_of_the_picture():
  values = np.zeros((39, 5), np.float32)
  values[:, :3] = [64.0, 128.0, -32.0]  # of 256
  network = object.__new__(LandmarkNetwork)
  network._network = lambda x: (values.reshape(1, -1), np.array([0.97]))
  picture = dancers.draw()[0]
  found = network.find(picture, Square(10.0, 20.0, 128.0))
  np.testing.assert_allclose(found.points, [[10 + 32, 20 + 64]] * 33)
  np.testing.assert_allclose(found.depth, [-16.0] * 33)


def test_landmarks_of_an_enlarged_and_moved_picture():
  found = dancers.landmarks()
  moved = found.moved(2.0, np.array([3.0, -4.0]))
  np.testing.assert_allclose(moved.points, 2 * found.points + [3, -4])
  assert not moved.depth.any()
  deep = Landmarks(found.points, found.confidence, 1.0, np.arange(33.0))
  np.testing.assert_allclose(deep.moved(0.5, np.zeros(2)).depth, np.arange(33) / 2)
