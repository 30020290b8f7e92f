"""Bones keep their pose and length at rest, and turn as the frames show."""

import dancers
import numpy as np
import pytest

from dabfusion_jax.people import landmarks as lm
from dabfusion_jax.people import skeleton
from dabfusion_jax.people.skeleton import Skeleton


def turned(points, joint, pivot, degrees):
  """Returns joints with some turned about another one."""
  angle = np.deg2rad(degrees)
  matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
  points = points.copy()
  points[joint] = points[pivot] + (points[joint] - points[pivot]) @ matrix.T
  return points


def pose_of(person, joints):
  """Returns the pose whose feet stand where the frame shows them."""
  return person.pose(joints, person.feet(joints))


def test_at_rest_no_bone_moves_however_wrong_the_reading_is():
  rest = dancers.joints() + np.random.default_rng(0).normal(0, 1.5, (33, 2))
  for move in pose_of(Skeleton(dancers.joints(), rest), rest).values():
    np.testing.assert_allclose(move, np.eye(2, 3), atol=1e-6)


def test_a_raised_arm_turns_by_its_angle_and_nothing_else_moves():
  rest = dancers.joints()
  arm = [lm.LEFT_ELBOW, lm.LEFT_WRIST]
  moves = pose_of(Skeleton(rest, rest), turned(rest, arm, lm.LEFT_SHOULDER, -80))
  for name in ("left_upper_arm", "left_forearm"):
    angle = np.degrees(np.arctan2(moves[name][1, 0], moves[name][0, 0]))
    assert angle == pytest.approx(-80, abs=1e-6)
  for name in set(moves) - {"left_upper_arm", "left_forearm"}:
    np.testing.assert_allclose(moves[name], np.eye(2, 3), atol=1e-6)


def test_limbs_hang_together_in_any_pose():
  rest = dancers.joints()
  pose = rest + np.random.default_rng(1).normal(0, 12, rest.shape)
  moves = pose_of(Skeleton(rest, rest), pose)
  for upper, lower, joint in (
    ("left_upper_arm", "left_forearm", lm.LEFT_ELBOW),
    ("right_thigh", "right_shin", lm.RIGHT_KNEE),
    ("torso", "left_thigh", lm.LEFT_HIP),
    ("right_shin", "right_foot", lm.RIGHT_ANKLE),
  ):
    ends = [skeleton.apply(moves[name], rest[joint]) for name in (upper, lower)]
    np.testing.assert_allclose(*ends, atol=1e-9)


def test_a_limb_never_grows_beyond_its_bound():
  rest = dancers.joints()
  pose = rest.copy()
  pose[lm.LEFT_WRIST] += 8 * (rest[lm.LEFT_WRIST] - rest[lm.LEFT_ELBOW])
  move = pose_of(Skeleton(rest, rest), pose)["left_forearm"]
  ends = skeleton.apply(move, rest[[lm.LEFT_ELBOW, lm.LEFT_WRIST]])
  before = np.linalg.norm(rest[lm.LEFT_WRIST] - rest[lm.LEFT_ELBOW])
  assert np.linalg.norm(ends[1] - ends[0]) == pytest.approx(1.1 * before)


@pytest.mark.parametrize(
  ("name", "share", "most"),
  [
    ("left_forearm", 0.95, 1.1 / 0.95),
    ("left_forearm", 0.5, 1.25),
    ("left_upper_arm", 0.8, 1.1 / 0.8),
    ("left_upper_arm", 0.4, 1.6),
    ("right_shin", 0.8, 1.06 / 0.8),
    ("right_shin", 1.2, 1.06),
  ],
)
def test_a_limb_may_become_as_long_as_that_of_the_other_side(name, share, most):
  rest = dancers.joints()
  first, last = skeleton.LIMBS[name]
  rest[last] = rest[first] + share * (rest[last] - rest[first])
  own = np.hypot(*(rest[last] - rest[first]))
  pose = rest.copy()
  pose[last] += 8 * (rest[last] - rest[first])
  _, end = Skeleton(rest, rest)._move_limb(name, rest[first], pose)
  assert np.hypot(*(end - rest[first])) == pytest.approx(most * own)


def test_the_lower_foot_stands_where_the_frame_shows_it():
  rest = dancers.joints()
  moves = pose_of(Skeleton(rest, rest), rest + [7.0, 3.0])
  ankle = skeleton.apply(moves["left_foot"], rest[lm.LEFT_ANKLE])
  np.testing.assert_allclose(ankle, rest[lm.LEFT_ANKLE] + [7, 3], atol=1e-6)


def test_both_feet_stand_still_while_the_hips_sway():
  rest = dancers.joints()
  person = Skeleton(rest, rest)
  pose = rest.copy()
  above = [i for i in range(33) if rest[i, 1] <= rest[lm.LEFT_HIP, 1]]
  pose[above] += [6.0, 0.0]
  pose[[lm.LEFT_ANKLE, lm.RIGHT_ANKLE]] += [[2.0, 0.0], [-1.0, 0.0]]  # as if read
  moves = person.pose(pose, person.feet(rest))
  for name, ankle in skeleton.FEET.items():
    place = skeleton.apply(moves[name], rest[ankle])
    np.testing.assert_allclose(place, rest[ankle], atol=0.5)


def test_a_raised_foot_is_not_held_on_the_floor():
  rest = dancers.joints()
  person = Skeleton(rest, rest)
  leg = [lm.LEFT_KNEE, lm.LEFT_ANKLE]
  pose = turned(rest, leg, lm.LEFT_HIP, -60)
  feet = person.feet(pose)
  feet[0] += [12.0, 0.0]  # where it would be held
  moves = person.pose(pose, feet)
  ankle = skeleton.apply(moves["left_foot"], rest[lm.LEFT_ANKLE])
  np.testing.assert_allclose(ankle, pose[lm.LEFT_ANKLE], atol=2)


def test_a_frame_read_from_behind_is_turned_round():
  rest = dancers.joints()
  confused = rest.copy()
  for left, right in lm.PAIRS:
    confused[[left, right]] = rest[[right, left]]
  np.testing.assert_array_equal(
    skeleton.face_forward(np.stack([rest, confused, rest]), rest, rest),
    np.stack([rest] * 3),
  )


def test_an_unsure_joint_follows_its_neighbours_in_time():
  track = np.tile(dancers.joints(), (9, 1, 1))
  track[4, lm.LEFT_WRIST] += 50
  sure = np.ones((9, 33))
  unsure = sure.copy()
  unsure[4, lm.LEFT_WRIST] = 0
  off = [
    np.abs(skeleton.smooth_joints(track, weight)[4] - dancers.joints()).max()
    for weight in (sure, unsure)
  ]
  assert off[0] > 20 and off[1] < 1
