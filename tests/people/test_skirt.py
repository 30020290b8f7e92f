"""The cloth of a skirt: where it is seen, and that legs which part do not split it."""

import dancers
import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest

from dabfusion_jax.people import landmarks as lm
from dabfusion_jax.people import skeleton
from dabfusion_jax.people.pieces import cut_pieces
from dabfusion_jax.people.skirt import SKIRT, find_hem, stretch

CLOTH = (150, 30, 120)


def _at(joints, name, place):
  """Returns a point of a leg, 1 at the knee and 2 at the ankle."""
  hip, knee, ankle = (
    joints[getattr(lm, f"{name}_{joint}")] for joint in ("HIP", "KNEE", "ANKLE")
  )
  if place <= 1:
    return hip + place * (knee - hip)
  return knee + (place - 1) * (ankle - knee)


def _wearing_skirt(joints, hem):
  """Returns a picture and a mask of somebody in a skirt down to a place of the legs."""
  picture, mask = dancers.draw(joints)
  corners = [joints[lm.LEFT_HIP] + [9, -4], _at(joints, "LEFT", hem) + [11, 0]]
  corners += [_at(joints, "RIGHT", hem) - [11, 0], joints[lm.RIGHT_HIP] - [9, 4]]
  image = PIL.Image.new("1", mask.shape[::-1])
  PIL.ImageDraw.Draw(image).polygon([tuple(corner) for corner in corners], fill=1)
  picture[np.asarray(image)] = CLOTH
  return picture, mask | np.asarray(image)


def _turned(joints, side, degrees):
  """Returns how a thigh turns about its hip."""
  angle, pivot = np.deg2rad(degrees), joints[getattr(lm, f"{side}_HIP")]
  cos, sin = np.cos(angle), np.sin(angle)
  matrix = np.array([[cos, -sin], [sin, cos]])
  return np.c_[matrix, pivot - matrix @ pivot]


def _hem(picture, mask, joints):
  """Returns the hem that is found; the trunk is that of the person at rest."""
  unit = skeleton.trunk_length(dancers.joints())
  return find_hem(picture.astype(np.float32), mask.astype(np.float32), joints, unit)


@pytest.mark.parametrize("hem", [0.8, 1.0, 1.4])
def test_the_hem_of_a_skirt_is_found_and_trousers_have_none(hem):
  joints = dancers.joints()
  picture, mask = _wearing_skirt(joints, hem)
  assert _hem(picture, mask, joints) == pytest.approx(hem, abs=0.1)
  picture[:, 76:84] += np.linspace(0, 9, 8).astype(np.uint8)[:, None]  # a fold
  picture[::7] = picture[::7] // 2  # stripes
  assert _hem(picture, mask, joints) == pytest.approx(hem, abs=0.1)
  assert _hem(*dancers.draw(joints), joints) is None


def test_a_shadow_between_trousers_tells_them_from_a_skirt():
  joints = dancers.joints()
  picture, mask = _wearing_skirt(joints, 1.2)
  picture[:, 79:82] = picture[:, 79:82] // 3
  assert _hem(picture, mask, joints) is None


def test_closed_legs_and_legs_below_the_picture_are_no_skirt():
  joints = dancers.joints()
  picture, mask = _wearing_skirt(joints, 1.0)
  joints[[lm.LEFT_HIP, lm.LEFT_KNEE, lm.LEFT_ANKLE], 0] = 87
  joints[[lm.RIGHT_HIP, lm.RIGHT_KNEE, lm.RIGHT_ANKLE], 0] = 73
  assert _hem(picture, mask, joints) is None
  joints = dancers.joints() + [0.0, 70.0]
  assert _hem(picture, np.ones_like(mask), joints) is None


def test_waist_moves_with_the_trunk_and_knees_with_the_thighs():
  joints = dancers.joints()
  torso = np.c_[np.eye(2), [3.0, -2.0]]
  left, right = _turned(joints, "LEFT", -20), _turned(joints, "RIGHT", 10)
  move = stretch(joints, torso, left, right)
  hips = joints[[lm.LEFT_HIP, lm.RIGHT_HIP]].mean(0)
  np.testing.assert_allclose(skeleton.apply(move, hips), hips + [3, -2], atol=1e-9)
  for knee, thigh in ((lm.LEFT_KNEE, left), (lm.RIGHT_KNEE, right)):
    np.testing.assert_allclose(
      skeleton.apply(move, joints[knee]), skeleton.apply(thigh, joints[knee]), atol=1e-9
    )
  crossed = _turned(joints, "LEFT", 40), _turned(joints, "RIGHT", -40)
  np.testing.assert_array_equal(stretch(joints, torso, *crossed), torso)


def test_a_skirt_goes_on_behind_hands_that_the_trunk_takes_along():
  joints = dancers.joints()
  for side, x in (("LEFT", 82), ("RIGHT", 78)):
    joints[getattr(lm, f"{side}_ELBOW")] = [80 + 9 * (x - 80), 92]
    joints[[getattr(lm, f"{side}_WRIST"), *getattr(lm, f"{side}_HAND")]] = [x, 112]
  picture, mask = _wearing_skirt(joints, 0.95)
  alpha = mask.astype(np.float32)
  pieces, _ = cut_pieces(picture, alpha, joints, held_arms=("left", "right"))
  skirt = dancers.compose([x for x in pieces if x.name == SKIRT], {SKIRT: np.eye(2, 3)})
  assert (skirt[110:124, 78:83, 3] > 250).all()


def test_a_skirt_stays_whole_when_the_legs_part():
  joints = dancers.joints()
  picture, mask = _wearing_skirt(joints, 0.95)
  pieces, joints = cut_pieces(picture, mask.astype(np.float32), joints)
  names = [piece.name for piece in pieces]
  assert names.index("left_shin") < names.index(SKIRT) < names.index("left_thigh")
  moves = dict.fromkeys(names, np.eye(2, 3))
  still = dancers.compose(pieces, moves)
  inside = mask & (still[..., 3] == 255)
  assert np.abs(still[inside][:, :3].astype(int) - picture[inside]).mean() < 1
  for side, degrees in (("LEFT", -14), ("RIGHT", 14)):
    moves[f"{side.lower()}_thigh"] = _turned(joints, side, degrees)
  thighs = [moves[f"{side}_thigh"] for side in ("left", "right")]
  moves[SKIRT] = stretch(joints, moves["torso"], *thighs)
  hem = (_at(joints, "LEFT", 0.85) + _at(joints, "RIGHT", 0.85)) / 2
  column, row = np.round(hem).astype(int)
  found = dancers.compose(pieces, moves)[row, column]
  np.testing.assert_allclose(found.astype(int), [*CLOTH, 255], atol=10)
  legs = [piece for piece in pieces if piece.name != SKIRT]
  assert dancers.compose(legs, moves)[row, column, 3] < 128  # as if it were shorts
