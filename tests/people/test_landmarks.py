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
  """A network that finds some landmarks at the brightest pixel, and others nowhere.

  In mirror images (whose left upper pixel is dark) it may see another place, with
  another confidence and presence.
  """

  def __init__(self, joints, shift=0.0, sure=9.0, presences=(1.0, 1.0)):
    self.joints, self.shift, self.sure = joints, shift, sure
    self.presences = presences

  def __call__(self, x):
    is_mirrored = x[0, 0, 1] < 0.5
    y, column = np.unravel_index(x[..., 0].argmax(), x.shape[:2])
    values = np.zeros((39, 5), np.float32)
    values[:, :2], values[:, 3] = 128.0, -9.0
    shift = -self.shift if is_mirrored else 0.0  # to the right, in the picture
    sure = self.sure if is_mirrored else 6.0
    values[self.joints, :4] = [column + 0.5 + shift, y + 0.5, 64.0, sure]
    mask = np.where(x[..., :1] > 0.9, 9.0, -9.0).astype(np.float32)
    presence = self.presences[int(is_mirrored)]
    return values.reshape(1, -1), np.array([presence]), mask


def look(reader, squares):
  picture = np.zeros((256, 512, 3), np.uint8)
  picture[40:42, 100:102, 0] = 255
  picture[:4, :4, 1] = picture[:4, 256:260, 1] = 255  # left upper pixels of both halves
  network = object.__new__(LandmarkNetwork)
  network._network = reader
  return network.look_closely(picture, squares)


LEFT, RIGHT = Square(0.0, 0.0, 256.0), Square(256.0, 0.0, 256.0)
HEAD = slice(0, lm.LEFT_SHOULDER)
ARM = [lm.LEFT_ELBOW, lm.LEFT_WRIST]


def test_a_mirror_image_has_left_and_right_exchanged():
  def network(x):  # sees a left wrist in both
    return Reader([lm.LEFT_WRIST], sure=6.0)(x)

  found, mask, square = look(network, [LEFT])
  wrists = [lm.LEFT_WRIST, lm.RIGHT_WRIST]
  # The left arms of both looks disagree, and so do the right ones: the surer holds.
  np.testing.assert_allclose(found.points[wrists], [[100.5, 40.5], [101.5, 40.5]])
  assert (found.confidence[wrists] > 0.99).all() and square == LEFT
  np.testing.assert_allclose(found.depth[wrists], 64)
  assert (mask[40:42, 100:102] > 0.99).all() and (mask > 0.5).sum() == 4


@pytest.mark.parametrize("side", [256.0, 512.0])
def test_looks_at_a_limb_that_agree_are_averaged(side):
  square = Square(0.0, 0.0, side)
  found, _, _ = look(Reader([lm.NOSE], shift=8.0), [square])
  # The brightest pixel of the mirror image is the next one.
  scale = side / 256
  x = found.points[lm.NOSE, 0]
  assert x == pytest.approx(101 + 4 * scale, abs=scale)
  assert 0.99 < found.confidence[lm.NOSE] < 0.9999


@pytest.mark.parametrize(("sure", "is_other"), [(9.0, True), (3.0, False)])
def test_if_looks_at_a_limb_disagree_the_surer_holds(sure, is_other):
  found, _, _ = look(Reader([lm.NOSE, 1, 4], shift=30.0, sure=sure), [LEFT])
  nose = found.points[lm.NOSE]
  np.testing.assert_allclose(nose, [131.5 if is_other else 100.5, 40.5])
  eyes = found.points[[1, 4]]
  np.testing.assert_allclose(eyes, [nose, nose])


def test_a_limb_is_not_put_together_from_two_looks():
  def network(x):
    values, presence, mask = Reader([lm.NOSE], sure=6.0)(x)
    values = values.reshape(39, 5)
    is_mirrored = x[0, 0, 1] < 0.5
    arm = [lm.RIGHT_ELBOW, lm.RIGHT_WRIST] if is_mirrored else ARM
    values[arm, 0] = [256 - 50, 256 - 90] if is_mirrored else [50, 60]
    # One look is surer of the elbow, the other, and altogether, of the wrist.
    values[arm, 3] = [1.0, 9.0] if is_mirrored else [3.0, -3.0]
    return values.reshape(1, -1), presence, mask

  found, _, _ = look(network, [LEFT])
  np.testing.assert_allclose(found.points[ARM, 0], [50, 90])
  assert found.confidence[lm.LEFT_ELBOW] == pytest.approx(1 / (1 + np.exp(-1.0)))


def test_a_mirror_image_without_anybody_tells_nothing():
  reader = Reader([lm.NOSE], shift=8.0, presences=(0.95, 0.4))
  found, mask, _ = look(reader, [LEFT])
  np.testing.assert_allclose(found.points[lm.NOSE], [100.5, 40.5])
  assert found.presence == 0.95 and (mask[40:42, 100:102] > 0.99).all()
  found, _, _ = look(Reader([lm.NOSE], presences=(0.95, 0.99)), [LEFT])
  assert found.presence == 0.95


def test_masks_of_two_looks_are_averaged():
  def network(x):
    *landmarks, mask = Reader([lm.NOSE])(x)
    return *landmarks, np.full_like(mask, -9.0 if x[0, 0, 1] < 0.5 else 9.0)

  np.testing.assert_allclose(look(network, [LEFT])[1], 0.5, atol=1e-3)


def test_the_surest_square_tells():
  class Halves(Reader):
    """Is sure of a body on one side, or has another presence there."""

    def __call__(self, x):
      values, presence, mask = super().__call__(x)
      is_left = x[..., 0].max() > 0.9
      if not is_left:
        values = np.where(np.arange(195) % 5 == 3, -3.0, values).astype(np.float32)
      return values, presence if is_left else np.array([self.of_right]), mask

  body = Halves(range(33))
  for body.of_right in (0.95, 0.2):
    assert look(body, [RIGHT, LEFT])[2] == LEFT
    assert look(body, [LEFT, RIGHT])[2] == LEFT
  body.presences, body.of_right = (0.9, 0.9), 0.95  # not sure enough of anybody
  assert look(body, [LEFT, RIGHT])[2] == RIGHT


@pytest.mark.parametrize(
  ("place", "is_whole"),
  [((128, 250), False), ((128, 200), True), ((4, 200), False), ((252, 200), True)],
)
def test_a_second_square_is_for_whole_bodies_in_the_picture(place, is_whole):
  calls = []

  def network(x):
    values = np.zeros((39, 5), np.float32)
    values[:, :2], values[:, 3] = 128.0, 9.0 if calls else 1.0  # surer of the second
    values[[lm.LEFT_ANKLE, lm.RIGHT_ANKLE], :2] = place
    calls.append(x)
    return values.reshape(1, -1), np.ones(1), np.zeros((256, 256, 1), np.float32)

  larger = Square(-32.0, -32.0, 320.0)
  square = look(network, [LEFT, larger])[2]
  assert square == (larger if is_whole else LEFT) and len(calls) == 3
