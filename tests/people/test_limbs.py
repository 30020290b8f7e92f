"""Arms and legs bend in their middle, and end at a straight line across the joint."""

import dancers
import numpy as np
import pytest

from dabfusion_jax.people import limbs, pieces, regions, skeleton
from dabfusion_jax.people.piece import draw_pieces

BENDING = (13, 14, 25, 26)  # elbows and knees


def regions_of(points, arms=1.0):
  picture, mask = dancers.draw(points, arms)
  shapes = regions.outlines(points, skeleton.trunk_length(points), mask.shape)
  return regions.assign(shapes, mask, picture, points)


def beside(points, joint, first, last, pixels):
  """Returns points in which one joint lies beside the middle of its limb."""
  along = points[last] - points[first]
  across = np.array([-along[1], along[0]]) / np.hypot(*along)
  moved = points.copy()
  moved[joint] += pixels * across
  return moved


@pytest.mark.parametrize("pixels", [-2.5, 2.5])
@pytest.mark.parametrize("limb", [(11, 13, 15), (12, 14, 16), (23, 25, 27)])
def test_a_joint_beside_the_middle_of_a_limb_is_moved_there(limb, pixels):
  points = dancers.joints()
  first, joint, last = limb
  points[joint] = (points[first] + points[last]) / 2
  found = regions_of(points)
  off = beside(points, joint, first, last, pixels)
  centred = limbs.centre_joints(found, off, skeleton.trunk_length(points))
  assert np.hypot(*(centred[joint] - points[joint])) < 1.0
  others = np.delete(np.arange(33), BENDING)
  np.testing.assert_array_equal(centred[others], off[others])


def test_joints_that_nothing_is_known_of_stay():
  points, unit = dancers.joints(), skeleton.trunk_length(dancers.joints())
  found = regions_of(points)
  points[15] = points[13] + [-20, -16]  # bent back
  assert np.array_equal(limbs.centre_joints(found, points, unit)[13], points[13])
  points = dancers.joints()
  nothing = {name: np.zeros_like(region) for name, region in found.items()}
  np.testing.assert_array_equal(limbs.centre_joints(nothing, points, unit), points)
  wide = {name: np.ones_like(region) for name, region in found.items()}
  for region in wide.values():
    region[:, :40] = False  # so that it ends on one side alone
  np.testing.assert_array_equal(limbs.centre_joints(wide, points, unit), points)


def test_a_joint_is_moved_by_a_small_part_of_the_trunk_at_most():
  points, unit = dancers.joints(), skeleton.trunk_length(dancers.joints())
  points[[11, 13, 15]] = [[40, 40], [40, 70], [40, 100]]
  nothing = np.zeros((dancers.HEIGHT, dancers.WIDTH), bool)
  found = dict.fromkeys(regions_of(dancers.joints()), nothing)
  found["left_upper_arm"] = nothing.copy()
  found["left_upper_arm"][:, 38:54] = True
  moved = limbs.centre_joints(found, points, unit) - points
  np.testing.assert_allclose(moved[13], [limbs._MOST * unit, 0], atol=1e-6)


@pytest.mark.parametrize(
  ("upper", "lower", "joint"),
  [
    ("left_upper_arm", "left_forearm", 13),
    ("right_upper_arm", "right_forearm", 14),
    ("left_thigh", "left_shin", 25),
    ("right_thigh", "right_shin", 26),
  ],
)
def test_a_limb_is_split_by_a_line_across_the_joint(upper, lower, joint):
  points = dancers.joints()
  found = regions_of(points)
  split = limbs.split_limbs(found, points)
  np.testing.assert_array_equal(
    split[upper] | split[lower], found[upper] | found[lower]
  )
  assert not (split[upper] & split[lower]).any()
  first, last = skeleton.LIMBS[upper][0], skeleton.LIMBS[lower][1]
  bones = [points[joint] - points[first], points[last] - points[joint]]
  along = sum(bone / np.hypot(*bone) for bone in bones)
  along /= np.hypot(*along)
  for name, sign in ((upper, 1), (lower, -1)):
    y, x = np.nonzero(split[name])
    place = np.stack([x, y], -1) + 0.5 - points[joint]
    assert (sign * (place @ along)).max() <= 0.01
  for name in ("torso", "head", "left_foot"):
    np.testing.assert_array_equal(split[name], found[name])


def test_a_folded_limb_keeps_its_parts():
  points = dancers.joints()
  found = regions_of(points)
  points[27] = points[25] + [12, -30]  # a foot that is kicked up
  split = limbs.split_limbs(found, points)
  for name in ("left_thigh", "left_shin"):
    np.testing.assert_array_equal(split[name], found[name])


def test_a_limb_that_is_bent_a_lot_is_split_halfway_between_its_bones():
  points = dancers.joints()
  points[27] = points[25] + [36, 4]  # by some 80 degrees
  found = regions_of(points)
  split = limbs.split_limbs(found, points)
  y, x = np.nonzero(found["left_thigh"] | found["left_shin"])
  place = np.stack([x, y], -1) + 0.5 - points[25]
  bones = np.diff(points[[23, 25, 27]], axis=0)
  middle = (bones / np.hypot(*bones.T)[:, None]).sum(0)
  beyond = place @ middle
  # Before, pixels on the side of the shin belong to the thigh, which is wider.
  assert found["left_thigh"][y, x][beyond > 1].sum() > 20
  assert not split["left_thigh"][y, x][beyond > 1].any()
  assert not split["left_shin"][y, x][beyond < -1].any()


def test_a_limb_without_length_keeps_its_parts():
  points = dancers.joints()
  found = regions_of(points)
  points[[13, 15]] = points[11]
  split = limbs.split_limbs(found, points)
  for name in ("left_upper_arm", "left_forearm"):
    np.testing.assert_array_equal(split[name], found[name])


def test_the_end_of_a_wide_sleeve_stays_with_the_upper_arm():
  points = dancers.joints()
  found = regions_of(points)
  sleeve = np.zeros_like(found["left_forearm"])
  sleeve[86:90, 132:140] = True  # beyond the elbow, and apart from the forearm
  found["left_upper_arm"] = found["left_upper_arm"] | sleeve
  split = limbs.split_limbs(found, points)
  assert split["left_upper_arm"][sleeve].all()


@pytest.mark.parametrize("turn", [-80, 80])
def test_a_bent_arm_has_no_corner_although_the_elbow_was_found_beside_its_middle(turn):
  points = dancers.joints()
  points[13] = (points[11] + points[15]) / 2
  picture, mask = dancers.draw(points)
  off = beside(points, 13, 11, 15, 2.5)
  parts, joints = pieces.cut_pieces(picture, mask.astype(np.float32), off)
  arm = [piece for piece in parts if piece.name in skeleton.ARMS["left"]]
  angle, pivot = np.radians(turn), joints[13]
  matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
  moves = {name: np.eye(2, 3) for name in ("torso", "left_upper_arm")}
  moves["left_forearm"] = np.c_[matrix, pivot - matrix @ pivot]
  drawn = draw_pieces(arm, moves, (dancers.WIDTH, dancers.HEIGHT))
  y, x = np.nonzero(np.asarray(drawn.getchannel("A")) > 128)
  place = np.stack([x, y], -1) + 0.5
  # Within half the width of the bones, nothing sticks out around the elbow.
  ends = points[11], skeleton.apply(moves["left_forearm"], points[15])
  near = np.hypot(*(place - pivot).T) < 14
  distance = np.min([from_bone(place[near], pivot, end) for end in ends], 0)
  assert near.sum() > 100
  assert distance.max() < 7.0  # the arm is 5.5 wide on both sides, its edge soft


def from_bone(place, start, end):
  along = end - start
  share = np.clip(((place - start) @ along) / (along @ along), 0, 1)
  return np.hypot(*(place - start - share[:, None] * along).T)


@pytest.mark.parametrize("degrees", [0, 90, 170])
@pytest.mark.parametrize(
  ("side", "shoulder", "raising"), [("left", 11, -1), ("right", 12, 1)]
)
def test_a_shoulder_is_as_round_as_the_arm_is_wide_to_the_trunk(
  side, shoulder, raising, degrees
):
  points, unit = dancers.joints(), skeleton.trunk_length(dancers.joints())
  arm, angle = f"{side}_upper_arm", raising * np.radians(degrees)
  along = np.array([-np.sin(angle), np.cos(angle)])
  points[shoulder + 2] = points[shoulder] + 30 * along
  y, x = (
    np.mgrid[: dancers.HEIGHT, : dancers.WIDTH]
    + 0.5
    - points[shoulder][::-1, None, None]
  )
  # From the bone to the trunk while the arm hangs, which is below once it is raised.
  inner = raising * (x * along[1] - y * along[0])
  nothing = dict.fromkeys(skeleton.LIMBS, np.zeros(x.shape, bool))
  found = nothing | {arm: (inner < 3) & (inner > -8)}
  radii = limbs.disc_radii(found, points, unit)
  assert radii[arm, shoulder] == pytest.approx(3, abs=1)
  least = limbs.disc_radii(nothing | {arm: (inner < 1) & (inner > -8)}, points, unit)
  assert least[arm, shoulder] == pytest.approx(limbs._SHOULDER * unit)
  unknown = limbs.disc_radii(nothing, points, unit)
  discs = [
    dict(limbs.joint_discs("torso", points, sizes, x.shape))[shoulder]
    for sizes in (radii, unknown)
  ]
  above, below = (slice(0, 52), slice(56, None))
  np.testing.assert_array_equal(discs[0][above, :], discs[1][above, :])
  assert discs[0][below].sum() < 0.6 * discs[1][below].sum()
