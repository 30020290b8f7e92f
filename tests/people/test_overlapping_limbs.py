"""The nearer of two overlapping limbs is whole; the other continues behind it."""

import dancers
import numpy as np
import pytest
import scipy.ndimage

from dabfusion_jax.people import landmarks as lm
from dabfusion_jax.people import overlap, pieces, regions, skeleton
from dabfusion_jax.people.skeleton import FEET, LEGS, LIMBS

LEFT_LEG = [lm.LEFT_HIP, lm.LEFT_KNEE, lm.LEFT_ANKLE, lm.LEFT_TOE]
RIGHT_LEG = [lm.RIGHT_HIP, lm.RIGHT_KNEE, lm.RIGHT_ANKLE, lm.RIGHT_TOE]
LEFT_COLOUR, RIGHT_COLOUR = (200, 40, 40), (40, 40, 200)


def crossed(front="left"):
  """Returns landmarks with crossed legs, and their depth, in pixels."""
  points = dancers.joints()
  points[[lm.LEFT_KNEE, lm.RIGHT_KNEE]] = [[87, 142], [73, 142]]
  points[[lm.LEFT_ANKLE, lm.RIGHT_ANKLE]] = [[66, 180], [94, 180]]
  points[[lm.LEFT_TOE, lm.RIGHT_TOE]] = [[62, 186], [98, 186]]
  depth = lm.flat()
  depth[LEFT_LEG[1:] if front == "left" else RIGHT_LEG[1:]] = -40
  return points, depth


def draw(points, front):
  """Returns a picture whose legs have colours of their own, the mask, and each leg."""
  picture, mask = dancers.draw(points)
  y, x = np.mgrid[: dancers.HEIGHT, : dancers.WIDTH] + 0.5
  legs = {}
  for side in ("left", "right"):
    near = [
      regions._distance(x, y, *points[list(LIMBS[part])]) < width
      for part, width in zip(LEGS[side], (10, 7), strict=True)
    ]
    legs[side] = np.logical_or.reduce(near) & (y > 114)
  for side in ("right", "left") if front == "left" else ("left", "right"):
    picture[legs[side]] = LEFT_COLOUR if side == "left" else RIGHT_COLOUR
  return picture, mask, legs


def regions_of(points, picture, mask):
  shapes = regions.outlines(points, skeleton.trunk_length(points), mask.shape)
  return shapes, regions.assign(shapes, mask, picture, points)


def leg_of(parts, side):
  return np.logical_or.reduce([parts[part] for part in LEGS[side]])


@pytest.mark.parametrize(("front", "back"), [("left", "right"), ("right", "left")])
def test_the_nearer_of_crossed_legs_is_whole_and_the_other_goes_on_behind(front, back):
  points, depth = crossed(front)
  picture, mask, legs = draw(points, front)
  shapes, found = regions_of(points, picture, mask)
  order = overlap.drawing_order(depth)
  parts, hidden = overlap.layer_limbs(found, shapes, points, depth, order)
  both = legs["left"] & legs["right"]
  assert both.sum() > 50
  share = lambda of: (leg_of(of, front) & both).sum() / both.sum()
  assert share(found) < 0.7 < 0.9 < share(parts)
  assert (leg_of(hidden, back) & both).sum() > 0.85 * both.sum()
  assert not leg_of(hidden, front)[both].any()


@pytest.mark.parametrize("trunks", [0.0, 0.2])
def test_limbs_at_about_the_same_depth_are_split_between_their_bones(trunks):
  points, depth = crossed()
  depth *= trunks * skeleton.trunk_length(points) / np.abs(depth).max()
  picture, mask, _ = draw(points, "left")
  shapes, found = regions_of(points, picture, mask)
  order = overlap.drawing_order(depth)
  parts, hidden = overlap.layer_limbs(found, shapes, points, depth, order)
  for name, region in found.items():
    np.testing.assert_array_equal(parts[name], region)
  assert not np.any([*hidden.values()])


def test_a_limb_in_front_is_as_wide_as_it_is_seen_beside_the_other():
  points, depth = crossed("left")
  picture, mask, legs = draw(points, "left")
  shapes, found = regions_of(points, picture, mask)
  order = overlap.drawing_order(depth)
  parts, _ = overlap.layer_limbs(found, shapes, points, depth, order)
  # The outlines of thighs and shins are wider by a fifth than the legs that are drawn.
  own = np.logical_or.reduce([shapes[part] < 1 for part in LEGS["left"]]) & mask
  assert (own & legs["right"] & ~legs["left"]).sum() > 100
  taken = leg_of(parts, "left") & legs["right"] & ~legs["left"]
  assert taken.sum() < 0.1 * legs["left"].sum()
  assert (leg_of(parts, "left") & legs["left"]).sum() > 0.9 * legs["left"].sum()


def test_every_pixel_still_belongs_to_one_piece():
  points, depth = crossed()
  picture, mask, _ = draw(points, "left")
  shapes, found = regions_of(points, picture, mask)
  order = overlap.drawing_order(depth)
  parts, _ = overlap.layer_limbs(found, shapes, points, depth, order)
  np.testing.assert_array_equal(np.sum([*parts.values()], 0), mask)


def test_a_foot_behind_the_other_shin_leaves_it_its_pixels():
  points, depth = crossed("right")
  points[lm.LEFT_ANKLE], points[lm.LEFT_TOE] = [84, 158], [96, 164]
  picture, mask = dancers.draw(points)
  shapes, found = regions_of(points, picture, mask)
  shin = shapes["right_shin"] < 0.4
  assert (found["left_foot"] & shin).sum() > 20
  order = overlap.drawing_order(depth)
  parts, _ = overlap.layer_limbs(found, shapes, points, depth, order)
  assert not (parts["left_foot"] & shin).any()


def test_what_is_left_of_a_foot_beyond_the_other_shin_is_not_cut_off_its_own():
  points, depth = crossed("right")
  points[lm.LEFT_ANKLE], points[lm.LEFT_TOE] = [80, 160], [100, 166]
  picture, mask, _ = draw(points, "right")
  shapes, found = regions_of(points, picture, mask)
  order = overlap.drawing_order(depth)
  parts, _ = overlap.layer_limbs(found, shapes, points, depth, order)
  beyond = (found["left_foot"] & ~parts["left_foot"]) & (shapes["right_shin"] > 1)
  assert beyond.sum() > 5  # the tip, which the shin in front has cut off
  assert (parts["right_shin"] | parts["right_foot"])[beyond].all()
  near_shin = scipy.ndimage.binary_dilation(parts["left_shin"], iterations=2)
  labels, count = scipy.ndimage.label(parts["left_foot"])
  assert all(near_shin[labels == label].any() for label in range(1, count + 1))


def test_a_strip_beside_the_limb_in_front_belongs_to_it():
  points, depth = crossed("left")
  picture, mask, legs = draw(points, "left")
  mask |= scipy.ndimage.binary_dilation(legs["left"], iterations=4)  # wide trousers
  shapes, found = regions_of(points, picture, mask)
  order = overlap.drawing_order(depth)
  parts, _ = overlap.layer_limbs(found, shapes, points, depth, order)
  for name in ("right_thigh", "right_shin"):
    labels, count = scipy.ndimage.label(parts[name])
    areas = np.sort(np.bincount(labels.ravel())[1:])
    assert (areas[:-1] >= 0.25 * found[name].sum()).all()


def test_the_nearer_leg_and_arm_are_drawn_over_the_other():
  depth = lm.flat()
  before = lambda first, second: order.index(first) < order.index(second)
  order = overlap.drawing_order(depth)
  names = {*LIMBS, *FEET, skeleton.TORSO, skeleton.HEAD}
  assert len(order) == len(names) and {*order} == names
  assert before("right_thigh", "left_foot")
  depth[RIGHT_LEG[1:]] = -30
  depth[lm.LEFT_WRIST] = 30
  order = overlap.drawing_order(depth)
  assert {*order} == names
  assert before("left_thigh", "right_foot") and before("right_thigh", skeleton.TORSO)
  assert before("right_upper_arm", "left_upper_arm")
  assert before("left_upper_arm", "left_forearm")
  assert before("left_forearm", "right_forearm")


@pytest.mark.parametrize("front", ["left", "right"])
def test_crossed_legs_are_the_picture_at_rest_and_whole_when_they_part(front):
  points, depth = crossed(front)
  picture, mask, legs = draw(points, front)
  parts, _ = pieces.cut_pieces(picture, mask.astype(np.float32), points, depth)
  still = {piece.name: np.eye(2, 3) for piece in parts}
  drawn = dancers.compose(parts, still)
  spread = scipy.ndimage.maximum_filter(picture, (5, 5, 1))
  spread -= scipy.ndimage.minimum_filter(picture, (5, 5, 1))
  inner = (spread.max(-1) == 0) & (legs["left"] | legs["right"])  # of one colour
  assert inner.sum() > 800
  error = np.abs(drawn[..., :3].astype(float) - picture).max(-1)[inner]
  assert (error < 20).mean() > 0.99
  # The leg in front is lifted away; the other goes on where it was.
  away = np.array([[1.0, 0, 0], [0, 1, -300]])
  feet = dict(zip(("left", "right"), FEET, strict=True))
  moved = dict.fromkeys((*LEGS[front], feet[front]), away)
  drawn = dancers.compose(parts, still | moved)
  back = "right" if front == "left" else "left"
  colour = LEFT_COLOUR if back == "left" else RIGHT_COLOUR
  core = legs[back] & legs[front]
  shown = drawn[core]
  assert (shown[:, 3] > 150).mean() > 0.85
  assert (np.abs(shown[:, :3].astype(float) - colour).max(-1) < 60).mean() > 0.9


def test_a_hand_before_the_sleeve_of_its_own_arm_is_not_cut_off():
  points, depth = dancers.joints(), lm.flat()
  points[lm.LEFT_ELBOW], points[lm.LEFT_WRIST] = [118, 82], [106, 66]
  points[list(lm.LEFT_HAND)] = [[101, 60], [102, 59]]
  depth[lm.LEFT_WRIST] = -40
  picture, mask = dancers.draw(points)
  shapes, found = regions_of(points, picture, mask)
  order = overlap.drawing_order(depth)
  parts, hidden = overlap.layer_limbs(found, shapes, points, depth, order)
  y, x = np.mgrid[: dancers.HEIGHT, : dancers.WIDTH] + 0.5
  tip = lm.fingertips(points, "left")
  hand = regions._distance(x, y, points[lm.LEFT_WRIST], tip) < 4
  hand &= found["left_upper_arm"]
  assert hand.sum() > 20
  assert (parts["left_forearm"] & hand).sum() > 0.9 * hand.sum()
  assert (hidden["left_upper_arm"] & hand).any()


def test_straight_legs_have_nothing_hidden_by_themselves():
  """The outline of a thigh goes on below the knee, where the shin is farther away."""
  points, depth = dancers.joints(), lm.flat()
  depth[[lm.LEFT_ANKLE, lm.RIGHT_ANKLE]] = 60
  picture, mask, _ = draw(points, "left")
  alpha = mask.astype(np.float32)
  flat, deep = (pieces.cut_pieces(picture, alpha, points, d)[0] for d in (None, depth))
  still = {piece.name: np.eye(2, 3) for piece in flat}
  np.testing.assert_array_equal(
    dancers.compose(deep, still), dancers.compose(flat, still)
  )


def test_legs_beside_one_another_end_between_their_bones():
  points, depth = dancers.joints(), lm.flat()
  points[[lm.LEFT_KNEE, lm.LEFT_ANKLE]] -= [4, 0]
  points[[lm.RIGHT_KNEE, lm.RIGHT_ANKLE]] += [4, 0]
  depth[LEFT_LEG[1:]] = -30
  picture, mask, _ = draw(points, "left")
  shapes, found = regions_of(points, picture, mask)
  order = overlap.drawing_order(depth)
  parts, hidden = overlap.layer_limbs(found, shapes, points, depth, order)
  np.testing.assert_array_equal(leg_of(parts, "right"), leg_of(found, "right"))
