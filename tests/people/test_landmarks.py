"""Landmarks of the network are told in pixels of the picture, depth included."""

import dancers
import numpy as np
import pytest

from dabfusion_jax.people import landmarks as lm
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


class Reader:
  """A network that finds one landmark: the brightest pixel, elsewhere nothing.

  Its confidence is the brightness of the left upper pixel. What it sees in a picture
  and in the mirror image differs by `shift` pixels in x.
  """

  def __init__(self, joint, shift=0.0, presence=1.0):
    self.joint, self.shift, self.presence = joint, shift, presence

  def __call__(self, x):
    y, column = np.unravel_index(x[..., 0].argmax(), x.shape[:2])
    values = np.zeros((39, 5), np.float32)
    values[:, 3] = -9.0
    values[self.joint, :4] = [column + 0.5 + self.shift, y + 0.5, 64.0, 9 * x[0, 0, 1]]
    mask = np.where(x[..., :1] > 0.9, 9.0, -9.0).astype(np.float32)
    return values.reshape(1, -1), np.array([self.presence]), mask


def look(reader, squares, sure=1.0):
  picture = np.zeros((256, 512, 3), np.uint8)
  picture[40:42, 100:102, 0] = 255
  picture[0, [0, 255], 1] = 255  # left and right upper pixel of the left half
  picture[0, 255, 1] = 255 * sure
  network = object.__new__(LandmarkNetwork)
  network._network = reader
  return network.look_closely(picture, squares)


LEFT, RIGHT = Square(0.0, 0.0, 256.0), Square(256.0, 0.0, 256.0)


def test_a_mirror_image_has_left_and_right_exchanged():
  wrists = [lm.LEFT_WRIST, lm.RIGHT_WRIST]
  found, mask, square = look(Reader(lm.LEFT_WRIST), [LEFT])
  # Seen in the picture as the left wrist, and in the mirror image as the right one.
  np.testing.assert_allclose(found.points[wrists[0]], [100.5, 40.5])
  np.testing.assert_allclose(found.points[wrists[1]], [101.5, 40.5])
  assert (found.confidence[wrists] > 0.99).all() and square == LEFT
  np.testing.assert_allclose(found.depth[wrists], 64)
  assert (mask[40:42, 100:102] > 0.99).all() and (mask > 0.5).sum() == 4


def test_two_looks_that_agree_are_averaged():
  found, _, _ = look(Reader(lm.NOSE, shift=3.0), [LEFT])
  # The mirror image says 3 pixels to the left, the picture 3 to the right.
  np.testing.assert_allclose(found.points[lm.NOSE], [101.0, 40.5])
  assert found.confidence[lm.NOSE] > 0.99


@pytest.mark.parametrize(("sure", "x"), [(0.5, 130.5), (1.5, 71.5)])
def test_of_two_looks_that_contradict_each_other_the_surer_holds(sure, x):
  reader = Reader(lm.NOSE, shift=30.0)
  values = []

  def network(image):
    value = reader(image)
    value[0].reshape(39, 5)[lm.NOSE, 3] = 9.0 if not values else 9.0 * sure
    values.append(value)
    return value

  found, _, _ = look(network, [LEFT])
  np.testing.assert_allclose(found.points[lm.NOSE], [x, 40.5])


def test_the_surest_square_tells():
  joint = lm.LEFT_KNEE
  assert look(Reader(joint), [RIGHT, LEFT])[2] == LEFT
  assert look(Reader(joint), [LEFT, RIGHT])[2] == LEFT
  assert look(Reader(joint, presence=0.0), [RIGHT, LEFT])[2] == RIGHT
