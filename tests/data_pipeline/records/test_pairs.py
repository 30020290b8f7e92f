"""Pairs of frames are ordered, flipped and jittered as they should be."""

import colorsys

import numpy as np
import pytest

from data_pipeline.records import colour_jitter, pairs
from data_pipeline.records.body_parts import PARTS


@pytest.fixture
def frames():
  """Returns frames; frame i is grey 4 i, with a bright left edge."""
  frames = np.broadcast_to(
    np.arange(40, dtype=np.uint8)[:, None, None, None] * 4, (40, 6, 8, 3)
  ).copy()
  frames[:, :, 0] = 255
  return frames


def sample_pair(rng, clip, augment=True):
  """Returns a pair of a clip."""
  draws = pairs.draw_pairs(rng, 1, len(clip["frames"]), augment)
  return pairs.make_pair(clip, {key: value[0] for key, value in draws.items()})


def jitter_colours(rng, images):
  """Returns images whose colours have changed."""
  draws = colour_jitter.draw_jitter(rng, 1)
  return colour_jitter.jitter(images, {key: value[0] for key, value in draws.items()})


def draw(rng, frames, augment=True):
  """Returns the reference and the driving frame of a pair."""
  pair = sample_pair(rng, {"frames": frames}, augment)
  assert pair.keys() == {"ref_image", "driving_frame"}  # no truth is made up
  return pair["ref_image"], pair["driving_frame"]


def test_pairs_are_drawn_earlier_first_with_replacement(frames):
  rng = np.random.default_rng(0)
  drawn = [draw(rng, frames, augment=False) for _ in range(200)]
  levels = np.array([[image[0, 3, 0] for image in pair] for pair in drawn]) * 255 / 4
  levels = np.round(levels).astype(int)
  assert (levels[:, 0] <= levels[:, 1]).all()
  assert (levels[:, 0] == levels[:, 1]).any()
  assert levels.min() == 0 and levels.max() == 39


def test_a_quarter_of_the_pairs_is_mirrored_and_half_is_swapped(frames):
  rng = np.random.default_rng(0)
  drawn = [draw(rng, frames) for _ in range(200)]
  mirrored = np.array([ref[0, -1, 0] > ref[0, 0, 0] for ref, _ in drawn])
  assert abs(mirrored.mean() - 0.25) < 0.1
  earlier = [ref[:, 3].mean() - driving[:, 3].mean() for ref, driving in drawn]
  assert abs((np.array(earlier) > 0).mean() - 0.5) < 0.1
  # Never both: a mirrored pair keeps its order.
  assert (np.array(earlier)[mirrored] <= 1e-6).all()


def test_a_pair_comes_with_the_motion_of_its_driving_frame():
  # A part of one bright pixel: its motion leads from the driving frame's to the other.
  rng = np.random.default_rng(0)
  part_map = np.zeros((10, 16, 16), np.uint8)
  part_pose = np.full((10, len(PARTS), 6), 1.0, np.float32)
  place = rng.integers(3, 13, (10, 2))
  hand = PARTS.index("left_hand")
  for t, (x, y) in enumerate(place):
    part_map[t, y, x] = 1 + hand
    part_pose[t, hand] = x, y - 2, 1, x, y + 2, 1
  frames = np.repeat(np.uint8(255) * (part_map > 0)[..., None], 3, -1)
  clip = {"frames": frames, "part_map": part_map, "part_pose": part_pose}
  seen = set()
  for _ in range(60):
    pair = sample_pair(rng, clip)
    (y, x), *_ = np.argwhere(pair["part_map"])
    assert pair["driving_frame"][y, x].max() > 0.5
    dx, dy = np.round(pair["motion"][y, x]).astype(int)
    assert pair["ref_image"][y + dy, x + dx].max() > 0.5
    assert pair["is_visible"][y, x]
    assert pair["part_pose"].shape == (2, len(PARTS), 6)
    seen.add(PARTS[pair["part_map"][y, x] - 1])
  assert seen == {"left_hand", "right_hand"}  # the latter in a mirror


def test_colours_of_both_frames_change_alike():
  image = np.random.default_rng(1).random((6, 8, 3), np.float32)
  rng = np.random.default_rng(0)
  first, second = jitter_colours(rng, np.stack([image, image]))
  np.testing.assert_array_equal(first, second)
  assert first.dtype == np.float32
  assert np.abs(first - image).max() > 0.01
  assert first.min() >= 0 and first.max() <= 1


def test_all_colour_operations_are_applied():
  image = np.array([0.5, 0.4, 0.2], np.float32) * np.ones((1, 2, 2, 3), np.float32)
  image[:, 0] *= 0.6
  seen = {name: set() for name in ("value", "contrast", "saturation", "hue")}
  rng = np.random.default_rng(0)
  for _ in range(5):
    out = jitter_colours(rng, image)
    dark, light = out[0, 0, 0], out[0, 1, 0]
    hue, saturation, value = colorsys.rgb_to_hsv(*light.tolist())
    seen["value"].add(round(value, 5))
    seen["contrast"].add(round(float(light.max() / dark.max()), 5))
    seen["saturation"].add(round(saturation, 5))
    seen["hue"].add(round(hue, 5))
  assert all(len(values) == 5 for values in seen.values()), seen


@pytest.mark.parametrize("turn", [-0.1, 0.0, 0.07, 0.5])
def test_hue_turns_as_in_hsv(turn):
  images = np.random.default_rng(2).random((2, 5, 3), np.float32)
  images[0, 0] = 0.3  # grey has no hue
  images[0, 1] = (1, 0, 0)
  out = colour_jitter.turn_hue(images, turn)
  for before, after in zip(images.reshape(-1, 3), out.reshape(-1, 3), strict=True):
    hue, saturation, value = colorsys.rgb_to_hsv(*before.tolist())
    expected = colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value)
    np.testing.assert_allclose(after, expected, atol=1e-5)


def test_each_pair_has_colours_and_an_order_of_operations_of_its_own():
  draws = colour_jitter.draw_jitter(np.random.default_rng(0), 2_000)
  assert len(np.unique(draws["operations"], axis=0)) == 24
  for key in ("factors", "turn"):
    assert len(np.unique(draws[key], axis=0)) == 2_000
