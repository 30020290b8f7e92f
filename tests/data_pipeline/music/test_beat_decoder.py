"""The most probable beats are those that made the activations."""

import itertools

import numpy as np
import pytest

from data_pipeline.music import beat_decoder

FPS = 50


def activations_of(times, num_frames, downbeats=()):
  """Returns activations with a peak at each time, as wide as networks make them."""
  activations = np.full((num_frames, 2), 0.005)
  for number, time in enumerate(times):
    peak = 0.9 * np.exp(-0.5 * ((np.arange(num_frames) - time * FPS) / 1.2) ** 2)
    column = int(number in downbeats)
    activations[:, column] = np.maximum(activations[:, column], peak)
  return activations


@pytest.mark.parametrize(("bpm", "phase"), [(70, 0.31), (97, 0.0), (200, 0.1)])
def test_tempo_and_phase_are_found(bpm, phase):
  times = np.arange(phase, 6, 60 / bpm)
  path = beat_decoder.decode(activations_of(times, 6 * FPS), FPS)
  assert len(path.frames) == len(times)
  np.testing.assert_allclose(path.frames / FPS, times, atol=0.021)


@pytest.mark.parametrize("meter", [3, 4])
def test_bars_are_counted_from_the_downbeats(meter):
  times = np.arange(0.1, 8, 0.5)
  downbeats = range(2, len(times), meter)
  path = beat_decoder.decode(activations_of(times, 8 * FPS, downbeats), FPS)
  np.testing.assert_array_equal(path.positions, (np.arange(len(times)) - 2) % meter)


def test_a_beat_that_is_not_heard_is_filled_in():
  times = np.arange(0.1, 8, 0.5)
  heard = np.delete(times, [6, 7, 12])
  path = beat_decoder.decode(activations_of(heard, 8 * FPS), FPS)
  np.testing.assert_allclose(path.frames / FPS, times, atol=0.041)


def test_a_tempo_that_is_given_doubles_the_beats():
  times = np.arange(0.1, 7, 0.8)  # 75 per minute
  activations = activations_of(times, 7 * FPS)
  assert len(beat_decoder.decode(activations, FPS).frames) == len(times)
  twice = beat_decoder.decode(activations, FPS, 150.0).frames / FPS
  np.testing.assert_allclose(np.median(np.diff(twice)), 0.4, atol=0.021)
  assert np.abs(twice[:, None] - times).min(axis=0).max() < 0.041


def test_beats_follow_a_tempo_that_changes():
  times = np.cumsum(np.linspace(0.6, 0.45, 16))
  path = beat_decoder.decode(activations_of(times, int(times[-1] * FPS) + 5), FPS)
  errors = np.abs(path.frames[:, None] / FPS - times).min(axis=0)
  assert errors.max() < 0.041 and len(path.frames) <= len(times) + 1  # one before


def test_the_score_is_the_likelihood_of_the_best_of_all_paths():
  """Against all sequences of intervals, scored frame by frame."""
  rng = np.random.default_rng(0)
  num_frames, fps, bpm = 9, 5, 100.0  # beats of 3 frames
  activations = rng.uniform(0.05, 0.4, (num_frames, 2))
  rest = np.log((1 - activations.sum(1)) / (beat_decoder.BEAT_SHARE - 1))
  best = -np.inf
  for meter, beat, start in itertools.product((3, 4), range(4), range(-2, 1)):
    if beat >= meter:
      continue
    score = 0.0
    for frame in range(num_frames):
      number, position = divmod(frame - start, 3)
      column = int((beat + number) % meter == 0)
      heard = np.log(activations[frame, column])
      score += heard if position == 0 else rest[frame]
    best = max(best, score)
  path = beat_decoder.decode(activations, fps, bpm)
  np.testing.assert_allclose(path.score, best, rtol=1e-9)


def test_a_song_shorter_than_a_beat_has_a_path():
  assert len(beat_decoder.decode(np.full((3, 2), 0.1), FPS).frames) <= 1
