"""Joints between frames lie on smooth ways through those of the frames."""

import numpy as np
import pytest

from dabfusion_jax.people.skeleton import SMOOTHING_REACH, smooth_joints
from dabfusion_jax.people.track import _MOST_TURN, Track

T = 14


@pytest.fixture
def joints():
  points = np.random.default_rng(0).normal(0, 10, (T, 33, 2))
  points[:, [13, 14]] += 200  # long arms, which turn little
  points[:, [15, 16]] += 400
  return points


REST = np.full((33, 2), 100.0)


def follow(joints, times, cuts=(), ease_in=0):
  track, poses = Track(times, REST, ease_in), []
  parts = np.split(joints, cuts)
  for i, part in enumerate(parts):
    poses += track.add(part, np.ones(part.shape[:2]), i == len(parts) - 1)
  return np.stack(poses)


@pytest.mark.parametrize("times", [1, 2, 3])
def test_poses_of_frames_are_the_smoothed_joints(joints, times):
  poses = follow(joints, times)
  assert len(poses) == T * times
  np.testing.assert_allclose(poses[::times], smooth_joints(joints, np.ones((T, 33))))


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("ease_in", [0, 5])
@pytest.mark.parametrize("cuts", [(1,), (2, 3, 9), (6, 12), (13,), range(1, T)])
def test_however_a_dance_is_cut_it_is_the_same(joints, times, ease_in, cuts):
  np.testing.assert_allclose(
    follow(joints, times, cuts, ease_in),
    follow(joints, times, ease_in=ease_in),
    atol=1e-12,
  )


def test_a_track_that_is_eased_in_goes_from_rest_to_the_dance():
  far = np.zeros((T, 33, 2))
  shares = 1 - follow(far, 1, ease_in=5)[:, 0, 0] / 100
  assert shares[0] < 0.02  # smoothed, so not quite at rest
  assert (np.diff(shares[:6]) > 0).all()
  assert np.diff(shares).max() < 0.3  # without easing, it is there at once
  np.testing.assert_array_equal(shares[5 + SMOOTHING_REACH :], 1)
  # Poses after it are those of a dance that is not eased in.
  np.testing.assert_allclose(
    follow(far + 1, 3, ease_in=5)[3 * (5 + SMOOTHING_REACH) :],
    follow(far + 1, 3)[3 * (5 + SMOOTHING_REACH) :],
  )


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize(("first", "last"), [(11, 13), (14, 16)])
def test_a_bone_of_an_arm_that_flips_turns_as_fast_as_it_can(
  joints, first, last, times
):
  joints = np.repeat(joints[:1], T, 0)
  beyond = -2 * (joints[0, last] - joints[0, first]) + [4, 0]  # not quite half a turn
  joints[T // 2 :, last] += beyond
  if last == 13:  # a forearm goes along with its upper arm
    joints[T // 2 :, 15] += beyond
  poses = follow(joints, times)
  bones = poses[:, last] - poses[:, first]
  turns = np.diff(np.unwrap(np.arctan2(*bones.T[::-1])))
  most = _MOST_TURN / times
  assert abs(turns).max() == pytest.approx(most)
  assert (abs(turns) > 0.9 * most).sum() >= 2 * times - 1 and abs(turns.sum()) > 3
  np.testing.assert_allclose(poses[-1], joints[-1])
  same = [i for i in range(33) if i not in (last, 15)]
  np.testing.assert_allclose(poses[:, same], joints[0, same][None].repeat(T * times, 0))
  moved = poses[:, 15] - poses[:, 13]
  if last == 13:
    np.testing.assert_allclose(moved, moved[:1].repeat(T * times, 0), atol=1e-9)


def test_a_steady_motion_stays_steady():
  steady = np.arange(T)[:, None, None] * np.ones((1, 33, 2))
  poses = follow(steady, 4)[:, 0, 0]
  inside = poses[4 * 4 : 4 * (T - 5)]
  np.testing.assert_allclose(np.diff(inside), 0.25, atol=1e-9)


def test_velocity_does_not_jump_at_frames(joints):
  poses = follow(joints, 64)[:, 0, 0]
  velocity = 64 * np.diff(poses[: 64 * (T - 1) + 1])
  at_frames = np.abs(np.diff(velocity))[63::64]
  # The velocity of straight lines jumps where they meet.
  jumps = np.abs(np.diff(np.diff(poses[::64])))
  assert at_frames.max() < 0.2 * jumps.max()


def test_after_the_last_frame_joints_rest(joints):
  poses = follow(joints, 3)
  np.testing.assert_array_equal(poses[-1], poses[-3])
  np.testing.assert_array_equal(poses[-2], poses[-3])
