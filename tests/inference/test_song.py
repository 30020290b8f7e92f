"""A dance lasts as long as its music, or as told, and each window hears its own."""

import dataclasses

import numpy as np
import pytest

from dabfusion_jax.inference.beat_notes import beat_notes
from dabfusion_jax.inference.dance import SAMPLE_RATE
from dabfusion_jax.inference.inputs import InputError
from dabfusion_jax.inference.length import count_frames, frames_per_motion
from dabfusion_jax.inference.options import DanceOptions
from dabfusion_jax.inference.song import Song
from data_pipeline.music.tracked import UNCLEAR, Tracked

_RATE = 100  # of what the encoder hears


class Ear:
  """An encoder that gives back what it hears."""

  name, size, sample_rate, identity = "ear", 0, _RATE, {}

  def __call__(self, audio, sample_rate):
    assert sample_rate == _RATE
    return audio

  def encode_batch(self, sounds, sample_rate):
    return np.stack(sounds)


def song(seconds=10.0, start=0.0, looped=False):
  """Sound whose samples are their own times; a beat at every whole second."""
  time = lambda rate: (np.arange(round(seconds * rate)) / rate).astype(np.float32)
  audio = np.repeat(time(SAMPLE_RATE)[:, None], 2, axis=1)
  beats = np.arange(0.0, seconds)
  return Song("song.wav", audio, Ear(), time(_RATE), beats, start, looped)


def heard(music, first, seconds=4.0):
  return music.condition(first, seconds).embedding


def test_a_window_hears_its_own_seconds_and_beats():
  music = song(start=1.5)
  np.testing.assert_allclose(heard(music, 3.0), np.arange(4.5, 8.5, 1 / _RATE))
  np.testing.assert_allclose(music.beats(3.0, 2.0), [-0.5, 0.5, 1.5, 2.5])
  audio = music.audio_between(3.0, 3.1)
  assert audio.shape == (4_410, 2) and audio[0, 0] == pytest.approx(4.5, abs=1e-4)


def test_a_window_beyond_the_end_hears_the_last_one_before_it():
  np.testing.assert_allclose(heard(song(), 9.0), np.arange(6.0, 10.0, 1 / _RATE))
  short = song(seconds=3.0)
  np.testing.assert_allclose(heard(short, 1.0), np.arange(0.0, 3.0, 1 / _RATE))
  assert not song().audio_between(10.1, 10.2).any()


def test_a_looped_song_begins_again():
  music = song(seconds=3.5, start=1.0, looped=True)
  expected = np.r_[np.arange(3.0, 3.5, 1 / _RATE), np.arange(0.0, 1.5, 1 / _RATE)]
  for rounds in (0, 1, 20):
    first = 2.0 + 3.5 * rounds
    np.testing.assert_allclose(heard(music, first, 2.0), expected, atol=1e-5)
    np.testing.assert_allclose(
      music.beats(first, 2.0), [-1.0, 0.0, 0.5, 1.5, 2.5], atol=1e-9
    )
  audio = music.audio_between(2.4, 2.6)[:, 0]
  assert audio.max() == pytest.approx(3.5, abs=1e-3) and audio.min() == 0


@pytest.mark.parametrize("seconds", [0.5, 4.0, 7.33, 29.99])
def test_a_full_dance_is_as_long_as_its_music_within_a_frame(seconds):
  options = DanceOptions(duration="full", music_start=0.25)
  frames = count_frames(song(seconds, 0.25), options, 40, 10.0)
  assert abs(frames / 10 - (seconds - 0.25)) <= 0.1


@pytest.mark.parametrize(
  ("duration", "short_music", "expected"),
  [
    (None, "refuse", 40),
    (None, "end", 40),
    (2.5, "refuse", 25),
    (30.0, "end", 80),
    (30.0, "loop", 300),
    ("full", "refuse", 80),
  ],
)
def test_short_music_ends_or_repeats_as_told(duration, short_music, expected):
  options = DanceOptions(duration=duration, short_music=short_music)
  music = song(8.0, looped=short_music == "loop")
  assert count_frames(music, options, 40, 10.0) == expected


def test_music_that_is_too_short_is_refused_with_advice():
  with pytest.raises(InputError, match="song.wav lasts 3.00 s.* needs 5.00 s.*=loop"):
    count_frames(song(3.0, 1.0), DanceOptions(), 40, 10.0)
  with pytest.raises(InputError, match="lasts 0.10 s"):
    count_frames(song(0.1), DanceOptions(duration="full"), 40, 10.0)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"duration": "all"}, "'full' or seconds"),
    ({"duration": float("nan")}, "duration must be"),
    ({"short_music": "stop"}, "one of refuse, loop, end"),
    ({"joining": "chain", "drawing": "layers"}, "leave out joining=chain"),
  ],
)
def test_a_length_that_cannot_be_is_refused(options, message):
  with pytest.raises(InputError, match=message):
    DanceOptions(**options)


def test_a_tempo_heard_at_half_or_double_is_told_with_its_cure():
  times = np.arange(0.0, 10.0, 60 / 62)

  def told(**doubt):
    music = dataclasses.replace(song(), tracked=Tracked(times, **doubt))
    return beat_notes(music, music.beats(0.0, 4.0), 4.0)

  assert told() == ()
  (note,) = told(doubt="Its tempo may be another.", other_bpm=124.2)
  assert "felt at 124 beats per minute" in note and "62" not in note
  assert "--bpm=124" in note
  music = dataclasses.replace(song(), tracked=Tracked(np.r_[times, 11.0, 13.0]))
  assert music.heard_bpm == 62 and song().heard_bpm is None
  (note,) = told(doubt=UNCLEAR)
  assert UNCLEAR in note and "--bpm=N" in note


@pytest.mark.parametrize(
  ("given", "gap"),
  [
    (np.arange(0.0, 10.0, 0.5), None),
    (np.arange(0.0, 10.0, 3.0), None),  # the first beat of each bar
    (np.r_[0.0:8.5:0.5], None),
    (np.r_[0.0:2.1:0.5], (2, 9)),
    (np.r_[1.0:3.1:0.5, 6.0:10.0:0.5], (3, 6)),
    (np.r_[7.0:10.0:0.5], (1, 7)),
    (np.array([2.0]), (2, 9)),
  ],
)
def test_a_gap_of_the_given_beats_is_told(given, gap):
  music = dataclasses.replace(song(start=1.0), beat_times=given)
  told = beat_notes(music, music.beats(0.0, 8.0), 8.0)
  if gap is None:
    assert told == ()
  else:
    (note,) = told
    assert "from {:.1f} s to {:.1f} s of the music".format(*gap) in note
  tracked = dataclasses.replace(music, tracked=Tracked(given))
  assert not beat_notes(tracked, music.beats(0.0, 8.0), 8.0)


@pytest.mark.parametrize(
  ("asked", "fps", "times"),
  [
    (None, 10, 3),
    (None, 12, 2),
    (None, 25, 1),
    (None, 60, 1),
    (20, 10, 2),
    (60, 7.5, 8),
  ],
)
def test_a_video_has_a_multiple_of_the_frames_of_its_motion(asked, fps, times):
  assert frames_per_motion(asked, float(fps)) == times


@pytest.mark.parametrize(("asked", "fps"), [(25, 10), (5, 10), (31, 10), (1, 10)])
def test_another_rate_is_refused_with_those_that_there_are(asked, fps):
  with pytest.raises(InputError, match=f"10, 20, 30, 40, 50, 60; not {asked}"):
    frames_per_motion(asked, float(fps))
