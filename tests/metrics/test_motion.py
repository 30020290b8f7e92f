"""Motion statistics and the pauses of a motion."""

import numpy as np
import pytest

from dabfusion_jax.metrics import motion


def identity_grids(num_frames, height, width):
  x, y = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
  return np.repeat(np.stack([x, y], -1)[None], num_frames, 0).astype(np.float32)


def test_speed_of_a_steady_shift_is_its_pixels_per_frame():
  size = (9, 17)
  flow = identity_grids(5, 4, 4)
  steps = np.arange(5)[:, None, None]
  flow[..., 0] += 3 * steps * 2 / (size[1] - 1)  # 3 px to the right
  flow[..., 1] += 4 * steps * 2 / (size[0] - 1)  # and 4 px down per frame
  np.testing.assert_allclose(motion.grid_speed(flow, size), [5] * 4, rtol=1e-5)
  np.testing.assert_allclose(motion.grid_jitter(flow, size), [0] * 3, atol=1e-5)


def test_still_grids_have_neither_speed_nor_jitter():
  flow = identity_grids(4, 3, 3)
  assert not motion.grid_speed(flow, (8, 8)).any()
  assert not motion.grid_jitter(flow, (8, 8)).any()


def test_jitter_of_noise_is_root_three_times_its_speed():
  noise = np.random.default_rng(0).normal(size=(50, 16, 16, 2)).astype(np.float32)
  ratio = motion.grid_jitter(noise, (8, 8)).mean() / motion.grid_speed(noise, (8, 8))
  np.testing.assert_allclose(ratio.mean(), np.sqrt(3), rtol=0.02)


def test_weights_leave_the_background_out():
  flow = identity_grids(3, 4, 4)
  flow[1:, 1:3, 1:3, 0] += 2 * 2 / 7  # 2 px at one step, in a quarter of the picture
  mask = np.zeros((3, 4, 4), bool)
  mask[:, 1:3, 1:3] = True
  np.testing.assert_allclose(motion.grid_speed(flow, (8, 8)), [0.5, 0], atol=1e-6)
  np.testing.assert_allclose(motion.grid_speed(flow, (8, 8), mask), [2, 0], atol=1e-6)
  mask[2] = False
  assert np.isnan(motion.grid_speed(flow, (8, 8), mask)).tolist() == [False, True]


def test_joint_speed_skips_invisible_joints():
  joints = np.zeros((4, 2, 2))
  joints[:, 0, 0] = [0, 1, 3, 6]
  joints[:, 1, 1] = [0, 2, np.nan, 2]
  visible = np.ones((4, 2), bool)
  visible[2, 1] = False
  np.testing.assert_allclose(motion.joint_speed(joints, visible), [1.5, 2, 3])
  visible[3] = False
  speed = motion.joint_speed(joints, visible)
  assert np.isnan(speed[2]) and not np.isnan(speed[:2]).any()


def test_pauses_of_periodic_motion_are_found_at_ten_fps():
  time = np.arange(41) / 10
  position = np.cos(2 * np.pi * time / 1.6)[:, None, None] * [1.0, 0]  # 75 bpm
  speed = motion.joint_speed(position, np.ones((41, 1), bool))
  speed = speed.round(12)  # two equal speeds around each pause
  beats = motion.kinematic_beats(speed, fps=10)
  np.testing.assert_allclose(beats, [0.75, 1.55, 2.35, 3.15], atol=1e-9)


def test_time_of_a_pause_lies_between_its_two_frames():
  np.testing.assert_allclose(
    motion.kinematic_beats(np.array([3.0, 1.0, 3.0, 2.0, 3.0]), fps=10), [0.15, 0.35]
  )


@pytest.mark.parametrize("speed", [[], [1.0], [1.0, 0.0], [0.0] * 9, [2.0] * 9])
def test_short_still_and_steady_motion_has_no_beat(speed):
  assert not len(motion.kinematic_beats(np.array(speed), fps=10))


def test_minimum_next_to_a_missing_speed_does_not_count():
  nan = np.nan
  speed = np.array([3, 1, nan, 1, 3, 1, 3, nan, nan, 2, 1, 2])
  np.testing.assert_allclose(motion.kinematic_beats(speed, fps=1), [5.5, 10.5])


def test_prominence_drops_shallow_pauses():
  speed = np.array([3.0, 2.9, 3.0, 1.0, 3.0])
  assert len(motion.kinematic_beats(speed, fps=10)) == 2
  assert len(motion.kinematic_beats(speed, fps=10, prominence=0.5)) == 1


@pytest.mark.parametrize("place", [10.0, 10.2, 10.5, 10.8])
def test_a_pause_is_placed_between_frames(place):
  speed = (np.arange(20) - place) ** 2
  found = motion.kinematic_beats(speed, fps=10, subframe=True)
  np.testing.assert_allclose(found, [(place + 0.5) / 10])


def test_strict_kinematic_beats_are_deep_in_any_unit():
  speed = np.array([3.0, 2.8, 3.0, 1.0, 3.0, 2.8, 3.0, 1.0, 3.0, 2.8, 3.0])
  assert len(motion.kinematic_beats(speed, fps=10)) == 5
  for unit in (1.0, 7.0):
    np.testing.assert_allclose(
      motion.strict_kinematic_beats(unit * speed, fps=10), [0.35, 0.75]
    )


@pytest.mark.parametrize("speed", [[], [1.0], [1.0, 0.0], [0.0] * 9, [2.0] * 9])
def test_a_still_flow_has_no_beat(speed):
  assert not len(motion.strict_kinematic_beats(np.array(speed), fps=10))
