"""Beats are found where they are, and put on the right frames."""

import numpy as np
import pytest

from data_pipeline.music import beats

RATE = 22050


def click_track(bpm, seconds, first=0.0):
  """Returns decaying clicks over a noise floor, and their times."""
  rng = np.random.default_rng(bpm)
  audio = 1e-4 * rng.standard_normal(seconds * RATE)
  times = np.arange(first, seconds - 0.1, 60 / bpm)
  decay = np.exp(-np.arange(400) / 80) * np.sin(0.3 * np.arange(400))
  for time in times:
    start = round(time * RATE)
    audio[start : start + 400] += decay
  return audio.astype(np.float32), times


@pytest.mark.parametrize("bpm", [85, 120])
@pytest.mark.parametrize("gain", [1.0, 0.02])
def test_clicks_are_found_at_any_level(bpm, gain):
  audio, times = click_track(bpm, 12)
  tracked = beats.track_beats(gain * audio, RATE)
  errors = np.abs(tracked[:, None] - times).min(0)
  assert np.median(errors) < 0.025
  assert (errors < 0.07).mean() > 0.9
  assert abs(len(tracked) - len(times)) <= 2


def test_silence_has_no_beats_and_nan_is_refused():
  assert beats.track_beats(np.zeros(4 * RATE, np.float32), RATE).shape == (0,)
  assert beats.track_beats(np.ones(RATE // 10, np.float32), RATE).shape == (0,)
  with pytest.raises(ValueError, match="NaN"):
    beats.track_beats(np.full(RATE, np.nan, np.float32), RATE)


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


@pytest.mark.parametrize("kind", ["silence", "constant", "noise", "sine", "chord"])
def test_beats_of_what_has_none_are_unclear(kind):
  t = np.arange(6 * RATE) / RATE
  sound = {
    "silence": np.zeros(len(t)),
    "constant": np.full(len(t), 0.5),
    "noise": 0.3 * np.random.default_rng(0).standard_normal(len(t)),
    "sine": 0.5 * np.sin(2 * np.pi * 440 * t),
    "chord": sum(0.2 * np.sin(2 * np.pi * f * t) for f in (110, 165, 220.7)),
  }[kind]
  assert not beats.hear_beats(sound.astype(np.float32), RATE)[1]


@pytest.mark.parametrize("level", [1.0, 0.01])
def test_beats_of_clicks_are_clear_at_any_level(level):
  audio = np.zeros(10 * RATE, np.float32)
  audio[:: RATE // 2] = level
  times, are_clear = beats.hear_beats(audio, RATE)
  assert are_clear and len(times) >= 18
