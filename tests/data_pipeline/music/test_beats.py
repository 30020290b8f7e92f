"""Beats are put on the right frames."""

import numpy as np

from data_pipeline.music import beats


def test_a_window_keeps_one_beat_beyond_either_edge():
  times = np.arange(10) * 0.5
  np.testing.assert_allclose(
    beats.slice_beats(times, 1.2, 1.0), np.array([1.0, 1.5, 2.0, 2.5]) - 1.2
  )
  np.testing.assert_allclose(beats.slice_beats(times, 0.0, 0.6), [0.0, 0.5, 1.0])
  assert len(beats.slice_beats(times, 9.0, 4.0)) == 1
  assert len(beats.slice_beats(np.zeros(0), 1.0, 4.0)) == 0


def test_beat_vector_rounds_halves_up_and_keeps_to_the_window():
  times = np.array([-0.01, 0.0, 0.25, 0.449, 3.96, 3.999, 4.0])
  (frames,) = np.nonzero(beats.beat_vector(times, 0.0, 40, 10))
  np.testing.assert_array_equal(frames, [0, 3, 4, 39])
  # It stays the same if the window moves by something that is not a binary fraction.
  moved = beats.beat_vector(times + 1.1, 1.1, 40, 10)
  np.testing.assert_array_equal(moved, beats.beat_vector(times, 0.0, 40, 10))


def test_beat_features_count_time_from_beat_to_beat():
  times = np.arange(-1, 8) * 0.6
  features = beats.beat_features(times, 0.0, 40, 10)
  np.testing.assert_array_equal(features[:, 0], beats.beat_vector(times, 0, 40, 10))
  np.testing.assert_allclose(features[:, 3] + features[:, 4], 0.6, atol=1e-6)
  np.testing.assert_allclose(features[:, 3], np.arange(40) * 0.1 % 0.6, atol=1e-6)
  np.testing.assert_allclose(features[:, 1] ** 2 + features[:, 2] ** 2, 1, atol=1e-6)
  np.testing.assert_allclose(features[3, 1:3], [0, -1], atol=1e-6)


def test_beat_features_continue_beyond_the_last_beat():
  whole = beats.beat_features(np.arange(-1, 9) * 0.5, 0.0, 40, 10)
  part = beats.beat_features(np.arange(3, 6) * 0.5, 0.0, 40, 10)
  np.testing.assert_allclose(part[:, 1:], whole[:, 1:], atol=1e-6)


def test_beat_features_without_beats_are_zero():
  assert not beats.beat_features(np.zeros(0), 0.0, 40, 10).any()
  single = beats.beat_features(np.array([1.0]), 0.0, 40, 10)
  assert single[10, 0] == 1 and single.sum() == 1
