"""Clips in a mirror: the motion of a mirrored body, with left and right exchanged."""

import numpy as np

from data_pipeline.records.body_parts import JOINTS, PARTS, joints_of
from data_pipeline.records.mirrored import WithMirrored, mirror
from data_pipeline.records.surfaces import Surfaces
from data_pipeline.records.true_motion import clip_motion

FRAMES, SIZE = 3, 16


def make_clip(seed=0):
  rng = np.random.default_rng(seed)
  shape = (FRAMES, SIZE, SIZE)
  surfaces = Surfaces(
    triangle=rng.integers(-1, 9, shape, dtype=np.int32),
    place=rng.random((*shape, 2), np.float32) / 2,
    corners=rng.integers(0, 12, (9, 3), dtype=np.int32),
    points=rng.uniform(0, SIZE, (FRAMES, 12, 3)).astype(np.float32),
    depth=rng.uniform(0, 16, shape).astype(np.float32),
  )
  return {
    "name": f"clip{seed}",
    "frames": rng.integers(0, 256, (*shape, 3), dtype=np.uint8),
    "part_map": rng.integers(0, 1 + len(PARTS), shape, dtype=np.uint8),
    "part_pose": rng.uniform(0, SIZE, (FRAMES, len(PARTS), 6)).astype(np.float32),
    "surfaces": surfaces.encode(),
    "music": rng.random(4),
  }


def test_the_motion_is_that_of_the_mirrored_body():
  clip = make_clip()
  seen = mirror(clip)
  motion, is_body, is_visible = clip_motion(clip, 1)
  flipped, body, visible = clip_motion(seen, 1)
  np.testing.assert_allclose(flipped, motion[:, :, ::-1] * [-1, 1], atol=0.05)
  np.testing.assert_array_equal(body, is_body[:, :, ::-1])
  # The place of a surface is rounded to pixels, halves to the even one.
  assert (
    0.1 < visible.mean() < 0.9 and (visible != is_visible[:, :, ::-1]).mean() < 0.05
  )
  np.testing.assert_array_equal(seen["frames"], clip["frames"][:, :, ::-1])
  joints, other = joints_of(clip["part_pose"]), joints_of(seen["part_pose"])
  left, right = JOINTS.index("left_wrist"), JOINTS.index("right_wrist")
  np.testing.assert_allclose(other[:, right, 0], SIZE - 1 - joints[:, left, 0], 1e-5)
  np.testing.assert_allclose(other[:, right, 1], joints[:, left, 1], 1e-5)
  assert seen["music"] is clip["music"] and seen["name"] == "clip0.mirrored"


def test_all_clips_come_first_and_then_all_in_a_mirror():
  clips = WithMirrored([make_clip(0), make_clip(1)])
  assert [clip["name"] for clip in clips] == [
    "clip0", "clip1", "clip0.mirrored", "clip1.mirrored",
  ]  # fmt: skip
  assert clips[-1]["name"] == "clip1.mirrored"
