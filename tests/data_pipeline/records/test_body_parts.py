"""The surface of a generated body moves with its parts, in a mirror as well."""

import numpy as np

from data_pipeline.records.body_parts import (
  MIRRORED,
  PARTS,
  body_motion,
  is_visible,
  mirror,
)


def poses(rng, num_frames=2, size=32):
  """Returns random capsules of all parts."""
  pose = rng.uniform(4, size - 5, (num_frames, len(PARTS), 6)).astype(np.float32)
  pose[..., [2, 5]] = 2.0
  return pose


def test_motion_between_a_frame_and_itself_is_zero():
  rng = np.random.default_rng(0)
  part_map = rng.integers(0, 1 + len(PARTS), (32, 32)).astype(np.uint8)
  pose = poses(rng)[0]
  assert np.abs(body_motion(part_map, pose, pose)).max() < 1e-3


def test_motion_follows_a_shift_and_a_rotation():
  pose_to = np.float32([[10, 10, 3, 20, 10, 3]])
  part_map = np.zeros((32, 32), np.uint8)
  part_map[10, 15] = part_map[12, 15] = 1
  shifted = body_motion(part_map, pose_to, pose_to + np.float32([2, 5, 0, 2, 5, 0]))
  np.testing.assert_allclose(shifted[12, 15], [2, 5], atol=1e-5)
  upright = np.float32([[10, 10, 3, 10, 20, 3]])  # turned about its start by a quarter
  turned = body_motion(part_map, pose_to, upright)
  np.testing.assert_allclose(turned[10, 15], [-5, 5], atol=1e-5)
  np.testing.assert_allclose(turned[12, 15], [8 - 15, 15 - 12], atol=1e-5)


def test_a_place_that_shows_another_part_is_not_visible():
  before, part_map = np.zeros((2, 8, 8), np.uint8)
  before[2, 2], before[2, 3], before[5, 5] = 1, 2, 1
  part_map[2, 4], part_map[2, 5], part_map[2, 7] = 1, 1, 1
  motion = np.zeros((8, 8, 2), np.float32)
  motion[2, 4:6, 0] = -2  # into part 1, and into part 2
  motion[2, 7, 0] = 3  # out of the picture
  visible = is_visible(motion, part_map, before)
  assert visible[2, 4] and not visible[2, 5] and not visible[2, 7]
  assert not visible[5, 5]  # background that the body covered
  assert visible[0, 0]


def test_a_mirrored_part_is_its_counterpart():
  names = {PARTS[i]: PARTS[j] for i, j in enumerate(MIRRORED)}
  assert names["left_hand"] == "right_hand" and names["right_shin"] == "left_shin"
  assert names["head"] == "head"
  assert [MIRRORED[i] for i in MIRRORED] == list(range(len(PARTS)))


def test_the_motion_of_mirrored_frames_is_the_mirrored_motion():
  rng = np.random.default_rng(1)
  part_map = rng.integers(0, 1 + len(PARTS), (2, 32, 32)).astype(np.uint8)
  pose = poses(rng)
  motion = body_motion(part_map[1], pose[1], pose[0])
  mirrored_map, mirrored = mirror(part_map, pose)
  found = body_motion(mirrored_map[1], mirrored[1], mirrored[0])
  np.testing.assert_allclose(found[:, ::-1], motion * [-1, 1], atol=1e-3)
  again = mirror(mirrored_map, mirrored)
  np.testing.assert_array_equal(again[0], part_map)
  np.testing.assert_allclose(again[1], pose, atol=1e-4)
