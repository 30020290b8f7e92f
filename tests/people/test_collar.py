"""A collar stays on the trunk if the head turns."""

import dancers
import numpy as np
import pytest
import scipy.ndimage

from dabfusion_jax.people import landmarks as lm
from dabfusion_jax.people import pieces
from dabfusion_jax.people.piece import draw_pieces

_SCALE = 3  # the neck is 66 pixels wide
_TURN = 0.3
DARKER = (150, 105, 85)


@pytest.fixture(scope="module", params=["round", "high", "open"])
def collared(request):
  """A picture, its mask, and the pieces of somebody whose collar ends at the neck."""
  points = dancers.joints()
  picture, mask = dancers.draw()
  if request.param == "high":  # it stands beside the neck as high as the chin
    for first, last in ((52, 60), (100, 108)):
      picture[32:56, first:last], mask[32:56, first:last] = dancers.SHIRT, True
  if request.param == "open":  # a strip of neck is left to the trunk
    y, x = np.mgrid[: dancers.HEIGHT, : dancers.WIDTH]
    picture[(np.hypot(x - 80, y - 58) < 11) & (y > 56)] = DARKER
  large = lambda x: x.repeat(_SCALE, 0).repeat(_SCALE, 1)
  picture, mask = large(picture), large(mask)
  cut = pieces.cut_pieces(picture, mask.astype(np.float32), _SCALE * points)[0]
  return picture, mask, cut


def is_shirt(rgba):
  """Returns which pixels show more of the shirt than of the skin."""
  near = lambda colour: np.abs(rgba[..., :3].astype(int) - colour).sum(-1)
  return (rgba[..., 3] > 60) & (near(dancers.SHIRT) < near(dancers.SKIN))


def test_a_head_takes_no_collar_along_and_loses_no_neck(collared):
  picture, mask, cut = collared
  (head,) = (piece for piece in cut if piece.name == "head")
  shown = np.asarray(head.image)
  assert is_shirt(shown).mean() < 0.015
  canvas = np.zeros((*mask.shape, 4), np.uint8)
  rows, columns = shown.shape[:2]
  canvas[head.top : head.top + rows, head.left : head.left + columns] = shown
  skin = (picture == dancers.SKIN).all(-1)
  skin[:, : 60 * _SCALE] = skin[:, 100 * _SCALE :] = False  # arms
  skin[56 * _SCALE :] = False
  assert (canvas[skin][:, 3] > 128).mean() > 0.97


def test_at_rest_neck_and_collar_are_the_picture(collared):
  picture, mask, cut = collared
  still = {piece.name: np.eye(2, 3) for piece in cut}
  drawn = np.asarray(draw_pieces(cut, still, mask.shape[::-1]))
  inner = scipy.ndimage.binary_erosion(mask, iterations=3)
  inner[: 30 * _SCALE] = inner[75 * _SCALE :] = False
  assert (drawn[inner][:, 3] > 180).all()
  error = np.abs(drawn[inner][:, :3].astype(int) - picture[inner]).max(-1)
  assert (error > 30).mean() < 0.03


def test_beside_a_neck_that_turns_is_no_hole(collared):
  _, mask, cut = collared
  pivot = _SCALE * dancers.joints()[[lm.LEFT_SHOULDER, lm.RIGHT_SHOULDER]].mean(0)
  cos, sin = np.cos(_TURN), np.sin(_TURN)
  turn = np.array([[cos, -sin], [sin, cos]])
  moves = {piece.name: np.eye(2, 3) for piece in cut}
  moves["head"] = np.c_[turn, pivot - turn @ pivot]
  drawn = np.asarray(draw_pieces(cut, moves, mask.shape[::-1]))
  neck = np.s_[
    int(pivot[1]) - 9 : int(pivot[1]), int(pivot[0]) - 24 : int(pivot[0]) + 24
  ]
  assert (drawn[neck][..., 3] > 128).all()


def test_a_hat_in_the_colour_of_the_shirt_stays_on_the_head():
  picture, mask = dancers.draw()
  for rows, columns in ((slice(8, 13), slice(40, 120)), (slice(2, 13), slice(72, 88))):
    picture[rows, columns], mask[rows, columns] = dancers.SHIRT, True
  cut = pieces.cut_pieces(picture, mask.astype(np.float32), dancers.joints())[0]
  (head,) = (piece for piece in cut if piece.name == "head")
  brim = np.asarray(head.image)[9 - head.top : 12 - head.top, 44 - head.left :]
  assert (brim[:, :72, 3] > 128).all()
