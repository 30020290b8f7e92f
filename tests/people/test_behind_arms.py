"""What an arm covers of a person is filled in, as far as they go on behind it."""

import dancers
import numpy as np
import scipy.ndimage

from dabfusion_jax.people import landmarks as lm
from dabfusion_jax.people import pieces


def test_behind_an_arm_that_moves_away_there_is_shirt():
  points = dancers.joints()
  points[[13, 15, 17, 19]] = [[100, 75], [84, 82], [80, 82], [80, 84]]
  picture, mask = dancers.draw(points)
  assert tuple(picture[82, 84]) == dancers.SKIN
  parts = pieces.cut_pieces(picture, mask.astype(np.float32), points)[0]
  (torso,) = [piece for piece in parts if piece.name == "torso"]
  red, green, blue, alpha = torso.image.getpixel((84 - torso.left, 82 - torso.top))
  assert alpha > 200
  np.testing.assert_allclose((red, green, blue), dancers.SHIRT, atol=30)


def test_behind_a_hand_that_the_trunk_takes_along_there_are_trousers():
  points = dancers.joints()
  points[[13, 15, 17, 19]] = [[104, 96], [90, 124], [88, 132], [88, 133]]
  picture, mask = dancers.draw(points)
  assert tuple(picture[130, 89]) == dancers.SKIN
  alpha = mask.astype(np.float32)
  parts = pieces.cut_pieces(picture, alpha, points, held_arms=("left",))[0]
  (thigh,) = [piece for piece in parts if piece.name == "left_thigh"]
  red, green, blue, alpha = thigh.image.getpixel((89 - thigh.left, 130 - thigh.top))
  assert alpha > 200
  np.testing.assert_allclose((red, green, blue), dancers.TROUSERS, atol=30)


def test_the_flank_behind_an_arm_is_straight():
  points = dancers.joints()
  points[[13, 15, 17, 19]] = [[101, 78], [101, 100], [101, 106], [101, 107]]
  picture, mask = dancers.draw(points)
  # The trunk ends at the line from the shoulder to the hip.
  y, x = np.mgrid[: dancers.HEIGHT, : dancers.WIDTH]
  beyond = (x > 96 - 6 * (y - 55) / 53) & (x < 95.5) & (y > 66) & (y < 106)
  picture[beyond], mask[beyond] = dancers.WALL, False
  parts = pieces.cut_pieces(picture, mask.astype(np.float32), points)[0]
  drawn = dancers.compose(
    [p for p in parts if p.name == "torso"], {"torso": np.eye(2, 3)}
  )
  assert drawn[75:95, 88, 3].min() > 200
  assert drawn[75:95, 98:, 3].max() < 50


def test_the_flank_behind_a_hanging_arm_ends_where_it_is_seen_to_end():
  points = dancers.joints()
  points[[13, 15, 17, 19]] = [[95, 80], [94, 102], [94, 108], [94, 109]]
  picture, mask = dancers.draw(points)
  y, x = np.mgrid[: dancers.HEIGHT, : dancers.WIDTH]
  waist = (x > 78) & (x < 88) & (y > 64) & (y < 108)  # between arm and trunk
  picture[waist], mask[waist] = dancers.WALL, False
  parts = pieces.cut_pieces(picture, mask.astype(np.float32), points)[0]
  drawn = dancers.compose(
    [p for p in parts if p.name == "torso"], {"torso": np.eye(2, 3)}
  )
  assert drawn[84:98, 74, 3].min() > 200
  assert drawn[84:98, 86:, 3].max() < 50


def hanging():
  """Returns joints, picture and mask of a person whose arm hangs along the trunk."""
  points = dancers.joints()
  points[[13, 15, 17, 19]] = [[101, 80], [101, 102], [101, 108], [101, 109]]
  return points, *dancers.draw(points)


def torso_of(parts):
  return dancers.compose(
    [p for p in parts if p.name == "torso"], {"torso": np.eye(2, 3)}
  )


def test_behind_a_hanging_arm_the_trunk_hardly_goes_on():
  points, picture, mask = hanging()
  drawn = torso_of(pieces.cut_pieces(picture, mask.astype(np.float32), points)[0])
  shirt = (picture == dancers.SHIRT).all(-1)
  skin = (picture == dancers.SKIN).all(-1)
  for row in range(86, 100):
    edge = np.flatnonzero(shirt[row] & ~skin[row]).max()
    assert drawn[row, edge + 5 :, 3].max() < 50, row
    assert drawn[row, edge - 3, 3] > 200, row


def test_behind_hands_at_the_hips_the_waist_goes_on():
  points = dancers.joints()
  for sign, elbow, wrist, knuckles, hip in (
    (1, 13, 15, [17, 19], 23),
    (-1, 14, 16, [18, 20], 24),
  ):
    points[elbow] = points[hip] + [sign * 20, -30]
    points[wrist] = points[hip] + [sign * 6, -4]
    points[knuckles] = points[hip] + [sign * 2, 6]
  picture, mask = dancers.draw(points, 1.5)
  parts = pieces.cut_pieces(picture, mask.astype(np.float32), points)[0]
  body = [piece for piece in parts if "arm" not in piece.name]
  drawn = dancers.compose(body, {piece.name: np.eye(2, 3) for piece in body})
  widths = (drawn[88:126, :, 3] > 128).sum(1)
  assert widths.min() > 0.55 * widths.max()
  # Between arm and waist there is still the wall.
  assert not drawn[~mask][:, 3].any()


def test_beside_an_arm_the_trunk_has_no_holes_where_the_mask_is_unsure():
  points, picture, mask = hanging()
  alpha = mask.astype(np.float32)
  shirt = (picture == dancers.SHIRT).all(-1)
  edge = np.flatnonzero(shirt[92]).max()
  alpha[88:96, edge - 1 : edge + 1] = 0.4
  drawn = torso_of(pieces.cut_pieces(picture, alpha, points)[0])
  assert drawn[88:96, edge - 1, 3].min() > 150
  alpha[88:96, edge - 1 : edge + 1] = 0.1  # that is background
  drawn = torso_of(pieces.cut_pieces(picture, alpha, points)[0])
  assert drawn[88:96, edge - 1, 3].max() < 60


def crossed():
  """A picture whose right forearm lies across the trunk."""
  points = dancers.joints()
  points[[14, 16, 18, 20]] = [[54, 82], [100, 84], [106, 84], [106, 85]]
  return points, *dancers.draw(points)


def test_behind_an_arm_the_grain_of_the_shirt_goes_on():
  points, picture, mask = crossed()
  shirt = (picture == dancers.SHIRT).all(-1)
  noise = np.random.default_rng(0).normal(0, 12, (*mask.shape, 1))
  picture = np.where(shirt[..., None], picture + noise, picture)
  picture = np.clip(picture, 0, 255).astype(np.uint8)
  parts = pieces.cut_pieces(picture, mask.astype(np.float32), points)[0]
  (torso,) = [piece for piece in parts if piece.name == "torso"]
  drawn = dancers.compose([torso], {"torso": np.eye(2, 3)})
  behind = drawn[80:88, 72:92]
  assert behind[..., 3].min() > 200
  np.testing.assert_allclose(behind[..., :3].mean((0, 1)), dancers.SHIRT, atol=12)
  grain = lambda x: np.diff(x[..., :3].astype(float), axis=1).std()
  assert grain(behind) > 0.5 * grain(picture[60:72, 72:92])


def test_in_a_large_picture_edges_are_mixed_over_more_pixels():
  points, picture, mask = hanging()
  times = 5
  large = picture.repeat(times, 0).repeat(times, 1).astype(float)
  soft = scipy.ndimage.gaussian_filter(large, (times / 2, times / 2, 0))
  alpha = mask.repeat(times, 0).repeat(times, 1).astype(np.float32)
  parts = pieces.cut_pieces(soft.astype(np.uint8), alpha, times * points)[0]
  (arm,) = [piece for piece in parts if piece.name == "left_forearm"]
  rows = slice(86 * times - arm.top, 100 * times - arm.top)
  pixels = np.asarray(arm.image).astype(int)[rows, : 100 * times - arm.left]
  seen = pixels[pixels[..., 3] > 200][:, :3]
  assert len(seen) > 1000
  assert (np.abs(seen - dancers.SKIN).max(-1) < 40).mean() > 0.98


def test_an_arm_before_chest_and_chin_leaves_no_hole_when_it_is_taken_away():
  points = dancers.joints()
  points[lm.LEFT_ELBOW], points[lm.LEFT_WRIST] = [104, 76], [76, 52]
  points[list(lm.LEFT_HAND)] = [[66, 44], [67, 43]]
  picture, mask = dancers.draw(points, arms=1.4)
  parts = pieces.cut_pieces(picture, mask.astype(np.float32), points)[0]
  rest = [
    piece for piece in parts if "left" not in piece.name or "arm" not in piece.name
  ]
  drawn = dancers.compose(rest, {piece.name: np.eye(2, 3) for piece in rest})
  nothing_before = dancers.draw()[1]
  y, x = np.mgrid[: dancers.HEIGHT, : dancers.WIDTH] + 0.5
  chest = (np.abs(x - 80) < 14) & (y > 58) & (y < 100)
  neck = (np.abs(x - 80) < 5) & (y > 30) & (y < 58)
  for part in (chest, neck):
    part &= nothing_before
    assert (drawn[part][:, 3] > 200).mean() > 0.97
  shown = drawn[chest][:, :3].astype(int)
  assert (np.abs(shown - dancers.SHIRT).max(-1) < 40).mean() > 0.95
