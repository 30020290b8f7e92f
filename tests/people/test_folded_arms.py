"""A bare forearm that lies before its sleeve takes no clothes along."""

import dancers
import numpy as np
import pytest
import scipy.ndimage

from dabfusion_jax.people import landmarks as lm
from dabfusion_jax.people import overlap, pieces, regions, skeleton

NEAR = lm.flat()  # with hands before the person
NEAR[[lm.LEFT_WRIST, lm.RIGHT_WRIST]] = -40
SHADE = np.array([12, 10, 8])  # by which the colours of a surface differ, at most


def folded(side="left"):
  """Returns landmarks of a person whose hand is before the shoulder of its arm."""
  points, sign = dancers.joints(), 1 if side == "left" else -1
  elbow, wrist, hand = (
    (lm.LEFT_ELBOW, lm.LEFT_WRIST, lm.LEFT_HAND)
    if side == "left"
    else (lm.RIGHT_ELBOW, lm.RIGHT_WRIST, lm.RIGHT_HAND)
  )
  points[elbow] = [80 + 34 * sign, 86]
  points[wrist] = [80 + 27 * sign, 66]
  points[list(hand)] = [80 + 25 * sign, 60]
  return points


def misread(points, side="left"):
  """Returns landmarks of an arm that lie beside it, over the sleeve."""
  points, sign = points.copy(), 1 if side == "left" else -1
  arm = (
    [lm.LEFT_ELBOW, lm.LEFT_WRIST, *lm.LEFT_HAND]
    if side == "left"
    else [lm.RIGHT_ELBOW, lm.RIGHT_WRIST, *lm.RIGHT_HAND]
  )
  points[arm] -= [4 * sign, 0]
  return points


def draw(points):
  """Returns a picture whose colours vary a little, and the mask."""
  picture, mask = dancers.draw(points)
  noise = np.random.default_rng(0).uniform(-1, 1, picture.shape[:2])[..., None]
  picture = np.clip(picture + SHADE * noise, 0, 255).astype(np.uint8)
  return picture, mask


def like(picture, colour):
  return np.abs(picture.astype(float) - colour).max(-1) < 20


def without_clothes(points, picture, mask):
  """Returns the pixels of each piece before and after."""
  shapes = regions.outlines(points, skeleton.trunk_length(points), mask.shape)
  found = regions.assign(shapes, mask, picture, points)
  order = overlap.drawing_order(NEAR)
  found, _ = overlap.layer_limbs(found, shapes, points, NEAR, order)
  return found, overlap.without_clothes(found, shapes, points, picture)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_bare_forearm_before_its_sleeve_leaves_the_sleeve_behind(side):
  points = folded(side)
  picture, mask = draw(points)
  found, parts = without_clothes(misread(points, side), picture, mask)
  skin, cloth = like(picture, dancers.SKIN), like(picture, dancers.SHIRT)
  before, after = found[f"{side}_forearm"], parts[f"{side}_forearm"]
  assert (before & cloth).sum() > 40 and (before & skin).sum() > 100
  assert (after & cloth).sum() < 0.1 * (before & cloth).sum()
  assert (after & skin).sum() > 0.95 * (before & skin).sum()
  assert scipy.ndimage.label(after)[1] == 1  # without specks
  gone = before & ~after
  assert (parts[f"{side}_upper_arm"] | parts[skeleton.TORSO])[gone].all()
  assert (parts[f"{side}_upper_arm"] & gone).any()
  np.testing.assert_array_equal(np.sum([*parts.values()], 0), mask)


def test_the_other_arm_keeps_its_pixels():
  points = folded("left")
  found, parts = without_clothes(misread(points), *draw(points))
  for name in ("right_forearm", "right_upper_arm", "head", "left_thigh"):
    np.testing.assert_array_equal(parts[name], found[name])


def test_a_forearm_in_a_sleeve_keeps_its_pixels():
  points = folded("left")
  picture, mask = draw(points)
  wrist = points[lm.LEFT_WRIST]
  y, x = np.mgrid[: dancers.HEIGHT, : dancers.WIDTH] + 0.5
  forearm = regions._distance(x, y, points[lm.LEFT_ELBOW], wrist) < 6
  noise = picture.astype(float) - np.array(dancers.SKIN)
  sleeve = forearm & (y > wrist[1]) & like(picture, dancers.SKIN)
  picture[sleeve] = np.clip(noise + dancers.SHIRT, 0, 255)[sleeve].astype(np.uint8)
  found, parts = without_clothes(misread(points), picture, mask)
  assert (found["left_forearm"] & like(picture, dancers.SHIRT)).sum() > 100
  for name, region in found.items():
    np.testing.assert_array_equal(parts[name], region)


def test_arms_that_are_not_folded_keep_their_pixels():
  points = dancers.joints()
  found, parts = without_clothes(points, *draw(points))
  for name, region in found.items():
    np.testing.assert_array_equal(parts[name], region)


def test_the_piece_of_a_folded_forearm_shows_skin_alone():
  points = folded("left")
  picture, mask = draw(points)
  alpha = mask.astype(np.float32)
  parts, _ = pieces.cut_pieces(picture, alpha, misread(points), NEAR)
  forearm = next(piece for piece in parts if piece.name == "left_forearm")
  shown = np.asarray(forearm.image)
  inner = scipy.ndimage.binary_erosion(shown[..., 3] > 200, iterations=1)
  blue = shown[..., 2].astype(int) > shown[..., 0]  # as the shirt is, and skin is not
  assert inner.sum() > 100
  assert (blue & inner).sum() < 0.05 * inner.sum()


def test_a_bare_hand_does_not_make_a_forearm_bare():
  """As of an arm that points at the camera, of which little but the hand is seen."""
  points = folded("left")
  points[lm.LEFT_WRIST] = [112, 79]
  points[list(lm.LEFT_HAND)] = [107, 64]
  points[[lm.LEFT_ELBOW, lm.LEFT_WRIST, *lm.LEFT_HAND]] -= [3, 0]
  picture, mask = draw(folded("left"))
  y, x = np.mgrid[: dancers.HEIGHT, : dancers.WIDTH] + 0.5
  sleeve = (y > 75) & (x > 100) & like(picture, dancers.SKIN)
  noise = picture.astype(float) - np.array(dancers.SKIN)
  picture[sleeve] = np.clip(noise + dancers.SHIRT, 0, 255)[sleeve].astype(np.uint8)
  found, parts = without_clothes(points, picture, mask)
  bare = found["left_forearm"] & like(picture, dancers.SKIN)
  assert bare.sum() > 100
  for name, region in found.items():
    np.testing.assert_array_equal(parts[name], region)


def test_a_forearm_of_two_pixels_is_not_lost():
  points = folded("left")
  picture, mask = dancers.draw(points)
  shapes = regions.outlines(points, skeleton.trunk_length(points), mask.shape)
  found = regions.assign(shapes, mask, picture, points)
  thin = found["left_forearm"] & (shapes["left_forearm"] < 0.15)
  found |= {"left_forearm": thin}
  parts = overlap.without_clothes(found, shapes, points, picture)
  np.testing.assert_array_equal(parts["left_forearm"], thin)
