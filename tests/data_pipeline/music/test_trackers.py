"""Beats are found where they are; sound without them has none; doubts are told."""

import numpy as np
import pytest

from data_pipeline.errors import UserError
from data_pipeline.music import beat_network, crnn_tracker, onsets, tracked, trackers
from data_pipeline.sources.synthdance_source import SynthDanceSource
from data_pipeline.synthdance import music
from data_pipeline.weights import MissingWeightsError

RATE = 22050


def click_track(times, seconds):
  """Returns decaying clicks over a noise floor."""
  audio = 1e-4 * np.random.default_rng(0).standard_normal(round(seconds * RATE))
  decay = np.exp(-np.arange(400) / 80) * np.sin(0.3 * np.arange(400))
  for time in times:
    start = round(time * RATE)
    audio[start : start + 400] += decay[: len(audio) - start]
  return audio.astype(np.float32)


class ClickNetwork:
  """Hears a beat wherever the sound is loud; stands for the trained network.

  As that one, it knows music of one level.
  """

  digest = "clicks"

  def __call__(self, audio):
    hop = beat_network.SAMPLE_RATE // beat_network.FPS
    frames = audio[: len(audio) // hop * hop].reshape(-1, hop)
    loud = np.abs(frames).max(axis=1) > 0.5
    return np.stack([np.where(loud, 0.9, 0.01), np.full(len(loud), 0.005)], axis=1)


@pytest.fixture(params=tracked.TRACKERS)
def tracker(request, monkeypatch):
  trackers.make_tracker.cache_clear()
  monkeypatch.setattr(crnn_tracker, "BeatNetwork", ClickNetwork)
  yield trackers.make_tracker(request.param)
  trackers.make_tracker.cache_clear()


@pytest.mark.parametrize(("bpm", "gain"), [(85, 0.2), (120, 1.0)])
def test_clicks_are_found_at_any_level(tracker, bpm, gain):
  times = np.arange(0.0, 11.9, 60 / bpm)
  found = tracker(gain * click_track(times, 12), RATE)
  errors = np.abs(found.times[:, None] - times).min(0)
  assert np.median(errors) < 0.025
  assert (errors < 0.07).mean() > 0.9
  assert abs(len(found.times) - len(times)) <= 2
  assert not found.doubt


@pytest.mark.parametrize("kind", ["constant", "noise", "sine", "drone"])
def test_sound_without_a_beat_has_none_and_says_so(tracker, kind):
  t = np.arange(6 * RATE) / RATE
  sound = {
    "constant": np.full(len(t), 0.5),
    "noise": 0.3 * np.random.default_rng(0).standard_normal(len(t)),
    "sine": 0.5 * np.sin(2 * np.pi * 440 * t),
    "drone": sum(0.2 * np.sin(2 * np.pi * f * t) for f in (110, 165, 220.7)),
  }[kind]
  found = tracker(sound.astype(np.float32), RATE)
  assert not len(found.times) and not len(found.downbeats)
  assert found.doubt == tracked.NO_BEAT


def test_silence_has_no_beats_and_nan_is_refused(tracker):
  assert tracker(np.zeros(4 * RATE, np.float32), RATE).times.shape == (0,)
  assert tracker(np.ones(RATE // 10, np.float32), RATE).times.shape == (0,)
  with pytest.raises(UserError, match="NaN"):
    tracker(np.full(RATE, np.nan, np.float32), RATE)


def test_a_change_of_tempo_is_told(tracker):
  times = np.r_[np.arange(0.0, 12, 0.6), np.arange(12, 24, 60 / 140)]
  assert "tempo changes" in tracker(click_track(times, 24), RATE).doubt


def test_a_tempo_heard_nearly_as_well_is_told_as_a_number(monkeypatch):
  monkeypatch.setattr(crnn_tracker, "BeatNetwork", ClickNetwork)
  audio = click_track(np.arange(0.0, 9.9, 0.5), 10)
  assert crnn_tracker.CrnnTracker()(audio, RATE).other_bpm is None
  monkeypatch.setattr(crnn_tracker, "_MIN_MARGIN", np.inf)
  found = crnn_tracker.CrnnTracker()(audio, RATE)
  ratio = found.other_bpm / tracked.tempo_of(found.times)
  assert min(abs(ratio - r) for r in (1 / 2, 2 / 3, 3 / 2, 2)) < 0.05
  assert f"{found.other_bpm:.0f} beats per minute" in found.doubt


def test_a_tempo_that_is_given_is_kept(tracker):
  times = np.arange(0.0, 7.9, 0.4)
  for bpm in (75.0, 150.0):
    steps = np.diff(tracker(click_track(times, 8), RATE, bpm).times)
    np.testing.assert_allclose(60 / np.median(steps), bpm, rtol=0.04)


def test_beats_without_a_rule_are_told():
  steps = np.random.default_rng(0).uniform(0.3, 0.7, 40)
  assert tracked.doubt_of_tempo(np.cumsum(steps))
  assert not tracked.doubt_of_tempo(np.cumsum(np.full(40, 0.5)))
  assert not tracked.doubt_of_tempo(np.zeros(0))


def test_the_network_is_preferred_once_it_is_imported(tmp_path, monkeypatch):
  trackers.make_tracker.cache_clear()
  monkeypatch.setenv("DABFUSION_WEIGHTS", str(tmp_path))
  tracker, reason = trackers.best_tracker()
  assert tracker.name == "librosa" and "weights import beatnet-1" in reason
  with pytest.raises(MissingWeightsError):
    trackers.make_tracker("crnn")
  monkeypatch.setattr(crnn_tracker, "BeatNetwork", ClickNetwork)
  assert trackers.best_tracker()[0].identity["weights"] == "clicks"
  trackers.make_tracker.cache_clear()


def test_the_real_network_hears_a_generated_song():
  trackers.make_tracker.cache_clear()
  try:
    tracker = trackers.make_tracker("crnn")
  except MissingWeightsError as error:
    pytest.skip(str(error))
  audio, rate = SynthDanceSource("smoke").song_audio("mHO2", ())
  true = music.beat_times("mHO2")
  true = true[true < 5.9]
  found = tracker(audio[: round(5.9 * rate)], rate)
  np.testing.assert_allclose(found.times, true, atol=0.05)
  assert np.isin(found.downbeats, found.times).all() and not found.doubt


def test_an_unknown_tracker_is_refused():
  with pytest.raises(UserError, match="known: librosa, crnn"):
    trackers.make_tracker("ear")


def test_the_network_prefers_beats_that_lie_on_onsets(monkeypatch):
  """A network that hears every other beat, the weak ones, is corrected."""
  loud, weak = np.arange(0.0, 7.9, 0.8), np.arange(0.4, 7.9, 0.8)
  audio = click_track(loud, 8) + np.float32(0.15) * click_track(weak, 8)

  class WeakNetwork(ClickNetwork):
    def __call__(self, audio):
      activations = np.full((round(len(audio) / RATE * 50), 2), 0.005)
      activations[np.round(weak * 50).astype(int), 0] = 0.4
      activations[np.round(loud * 50).astype(int), 0] = 0.03
      return activations

  monkeypatch.setattr(crnn_tracker, "BeatNetwork", WeakNetwork)
  found = crnn_tracker.CrnnTracker()(audio, RATE)
  np.testing.assert_allclose(np.median(np.diff(found.times)), 0.4, atol=0.01)
  monkeypatch.setattr(crnn_tracker, "_ONSET_WEIGHT", 0.0)
  found = crnn_tracker.CrnnTracker()(audio, RATE)
  np.testing.assert_allclose(np.median(np.diff(found.times)), 0.8, atol=0.01)


def test_onsets_that_repeat_with_the_beat_are_told_from_those_that_do_not():
  strength = np.zeros(600, np.float32)
  strength[::20] = 1.0
  times = np.arange(30) * 20 * onsets.HOP_LENGTH_SAMPLES / onsets.SAMPLE_RATE
  assert onsets.repeats(strength, times)
  scattered = np.random.default_rng(1).permutation(strength)
  assert not onsets.repeats(scattered, times)
