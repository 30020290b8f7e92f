"""Frames are chosen by time, and pixels go where their transform says."""

from fractions import Fraction

import numpy as np
import pytest

from data_pipeline.media import framing


def test_ten_fps_of_film_are_the_nearest_frames_and_not_every_sixth():
  film = Fraction(60000, 1001)
  times = np.arange(600) / float(film)
  wanted = framing.resample_times(90, 10, 0.3)
  chosen = framing.nearest_frames(times, wanted)
  assert np.abs(times[chosen] - wanted).max() <= 0.5 / float(film) + 1e-6
  # Film is 0.1 % slow: after nine seconds it has drifted by more than half a frame.
  assert not np.array_equal(chosen, chosen[0] + 6 * np.arange(90))


def test_frames_at_the_same_rate_are_taken_one_by_one():
  times = np.arange(80) / 10
  chosen = framing.nearest_frames(times, framing.resample_times(40, 10, 2.0))
  np.testing.assert_array_equal(chosen, np.arange(20, 60))


def test_frames_are_repeated_and_dropped_by_their_time_stamps():
  times = np.array([0.0, 0.1, 0.5, 0.52, 0.6])
  chosen = framing.nearest_frames(times, framing.resample_times(7, 10, 0.0))
  np.testing.assert_array_equal(chosen, [0, 1, 1, 1, 2, 2, 4])


def test_letterboxed_film_fills_rows_28_to_99():
  film = np.full((1, 1080, 1920, 3), 200, np.uint8)
  out, _ = framing.letterbox(film, 128)
  rows = np.flatnonzero(out.any(axis=(0, 2, 3)))
  assert (rows[0], rows[-1], len(rows)) == (28, 99, 72)
  assert set(np.unique(out)) == {0, 200}


@pytest.mark.parametrize("shape", [(36, 64), (30, 44), (7, 5), (50, 20)])
@pytest.mark.parametrize("size", [16, 24])
def test_area_interpolation_keeps_the_mean(shape, size):
  frames = np.random.default_rng(0).integers(0, 256, (1, *shape, 3), np.uint8)
  out = framing.resize_area(frames, size, size)
  assert out.shape == (1, size, size, 3)
  assert abs(float(out.mean()) - float(frames.mean())) < 0.5


def test_area_interpolation_by_a_whole_factor_is_the_block_mean():
  frames = np.random.default_rng(0).integers(0, 256, (2, 12, 20, 3), np.uint8)
  blocks = frames.reshape(2, 3, 4, 5, 4, 3).mean(axis=(2, 4))
  out = framing.resize_area(frames, 3, 5)
  np.testing.assert_array_equal(out, np.floor(blocks + 0.5))


@pytest.mark.parametrize("name", ["letterbox", "crop"])
def test_the_transform_follows_a_bright_spot(name):
  frames = np.zeros((1, 72, 128, 3), np.uint8)
  frames[0, 40:44, 60:64] = 255  # centre (61.5, 41.5)
  out, transform = framing.FRAMINGS[name](frames, 32)
  weights = out[0, :, :, 0] / out[0, :, :, 0].sum()
  grid = np.arange(32)
  spot = np.array([(weights.sum(0) * grid).sum(), (weights.sum(1) * grid).sum()])
  np.testing.assert_allclose(transform(np.array([[61.5, 41.5]]))[0], spot, atol=0.06)


def test_label_maps_follow_the_frames():
  maps = np.zeros((1, 72, 128), np.uint8)
  maps[0, 20:60, 50:80] = 7
  frames = np.repeat((maps > 0)[..., None] * np.uint8(255), 3, axis=-1)
  for frame in (framing.letterbox, framing.crop_square):
    out, transform = frame(frames, 64)
    labels = framing.frame_nearest(maps, 64, transform)
    assert set(np.unique(labels)) == {0, 7}
    assert ((out[..., 0] > 127) == (labels == 7)).mean() > 0.99
