"""What a user brings is heard and seen as the training data were."""

import json
from fractions import Fraction

import numpy as np
import pytest

from dabfusion_jax.inference import inputs
from dabfusion_jax.inference.inputs import InputError
from dabfusion_jax.inference.options import DanceOptions
from data_pipeline.cutting import ingest
from data_pipeline.cutting.windows import Windows
from data_pipeline.media import sound, writer
from data_pipeline.music import trackers
from data_pipeline.music.encoders import make_encoder
from data_pipeline.music.tracked import LIBROSA, Tracked
from data_pipeline.sources.base import SourceVideo, VideoFile

RATE = 44_100


class Ear:
  """An encoder that gives back what it hears, with words of its own."""

  name, size, sample_rate, identity = "ear", 48_000, 48_000, {}

  def __call__(self, audio, sample_rate):
    return self.encode_batch([audio], sample_rate)[0]

  def encode_batch(self, sounds, sample_rate):
    assert sample_rate == self.sample_rate
    return np.stack(sounds)

  def encode_texts(self, texts):
    return np.array([[len(text), 1.0] for text in texts], np.float32)


def clicks(seconds=8, period=0.5):
  """Clicks over a noise floor, the first after a quarter of a second."""
  audio = 1e-3 * np.random.default_rng(0).standard_normal(seconds * RATE)
  decay = np.exp(-np.arange(800) / 160) * np.sin(0.15 * np.arange(800))
  for beat in np.arange(0.25, seconds - 0.1, period):
    start = round(beat * RATE)
    audio[start : start + 800] += 0.9 * decay
  return audio.astype(np.float32)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
  """A video with sound: the same file is training data and a user's music."""
  path = tmp_path_factory.mktemp("inputs") / "film.mp4"
  frames = np.zeros((80, 18, 32, 3), np.uint8)
  writer.write_video(path, frames, 10, clicks(), RATE)
  return path


def test_a_picture_is_cut_around_the_person_as_film_is(tmp_path):
  frames = np.full((20, 72, 128, 3), 200, np.uint8)
  frames[:, 60:] = 150
  for i, frame in enumerate(frames):
    x = 96 + round(6 * np.sin(0.9 * i))
    frame[15:65, x - 6 : x + 6] = (200, 20, 20)
  writer.write_video(tmp_path / "a.mp4", frames, 10, clicks(), RATE)
  form = ingest.ClipFormat(20, 10, 36, framing="person")
  cut = ingest.cut_clips(
    SourceVideo("a", "train", "a", 0.0),
    VideoFile(tmp_path / "a.mp4"),
    np.zeros(0),
    form,
    Ear(),
    Windows("first"),
  )
  (record,) = cut.records
  picture = inputs.frame_image(frames[0], "person", 36, pad=False)
  columns = [
    np.nonzero(square[..., 1] < 60)[1].mean()
    for square in (picture, record["frames"][0])
  ]
  assert abs(columns[0] - columns[1]) <= 3.5 and abs(columns[0] - 17.5) <= 3.5
  # Higher than wide, she is seen whole; before a busy wall she is not guessed.
  tall = inputs.frame_image(frames[0][:, 80:112], "person", 36, pad=False)
  assert tall.shape == (36, 36, 3) and (tall[8:32, 12:24, 1] < 60).any(axis=1).all()
  noise = np.random.default_rng(0).integers(0, 256, (72, 128, 3), np.uint8)
  with pytest.raises(InputError, match="crop a square around the person"):
    inputs.frame_image(noise, "person", 36, pad=False)


def test_sampling_encodes_music_as_training_did(film):
  video = SourceVideo("film", "train", "song", 0.0)
  form = ingest.ClipFormat(num_frames=10, fps=10, frame_size=16)
  cut = ingest.cut_clips(
    video, VideoFile(film), np.zeros(0), form, Ear(), Windows("random", 2)
  )
  for record in cut.records:
    song = inputs.read_music(film, Ear())
    condition = song.condition(record["start_seconds"], form.seconds)
    np.testing.assert_array_equal(condition.embedding, record["music"])


@pytest.mark.parametrize(
  ("beats", "heard"),
  [([0.5, 2.05, 2.5, 5.0, 7.5, 7.95, 9.0], [2.05, 2.5, 5.0, 7.5, 7.95]), ([0.5], [])],
)
def test_nobody_dances_to_silence_before_or_after_the_music(beats, heard):
  audio = np.zeros((10 * inputs.SAMPLE_RATE, 2), np.float32)
  for first, last in ((2.1, 4.0), (6.0, 7.9)):  # a pause is part of the music
    audio[round(first * inputs.SAMPLE_RATE) : round(last * inputs.SAMPLE_RATE), 1] = 0.2
  np.testing.assert_array_equal(inputs._heard(np.array(beats), audio), heard)
  assert not len(inputs._heard(np.array(beats), 0 * audio))


def test_beats_are_tracked_given_or_absent(film, tmp_path):
  def hear(**given):
    librosa = trackers.make_tracker(LIBROSA)
    song = inputs.read_music(film, Ear(), 2.0, tracker=librosa, **given)
    assert (song.tracker is None) == ("beat_times" in given)
    return song.beats(0.0, 4.0)

  tracked = hear()
  np.testing.assert_allclose(np.diff(tracked), 0.5, atol=0.05)
  assert np.abs(tracked - 0.25 - 0.5 * np.round((tracked - 0.25) / 0.5)).max() < 0.05
  # A tracker told another tempo follows it.
  assert np.median(np.diff(hear(bpm=60.0))) == pytest.approx(1.0, abs=0.06)
  path = tmp_path / "beats.txt"
  path.write_text("# drums\n3.5 3.5 label\n\n1.5\n3.0\n7\n9\n")
  expected = [-0.5, 1.0, 1.5, 5.0]  # one beyond either edge
  np.testing.assert_array_equal(hear(beat_times=path), expected)
  np.testing.assert_array_equal(hear(beat_times=[9.0, 7.0, 3.5, 3.0, 1.5]), expected)
  assert not len(hear(beat_times=[]))


@pytest.mark.parametrize("rate", [22_050, 48_000])
def test_a_song_is_decoded_once_per_form_of_its_sound(film, rate, monkeypatch):
  forms = []

  def read_audio(path, sample_rate, mono=True):
    forms.append((sample_rate, mono))
    return sound.read_audio(path, sample_rate, mono=mono)

  heard = []

  class Tracker:
    name, identity = "still", {}

    def __call__(self, audio, sample_rate, bpm=None):
      heard.append((audio, sample_rate))
      return Tracked(np.zeros(0))

  monkeypatch.setattr(inputs.reader, "read_audio", read_audio)
  ear = Ear()
  ear.sample_rate = rate
  inputs.read_music(film, ear, tracker=Tracker())
  assert len(forms) == len(set(forms)) == (2 if rate == 22_050 else 3)
  ((audio, sample_rate),) = heard
  np.testing.assert_array_equal(audio, sound.read_audio(film, sample_rate))


def test_text_replaces_the_sound_if_the_encoder_takes_it(film):
  song = inputs.read_music(film, Ear(), text="krump")
  np.testing.assert_array_equal(song.condition(0.0, 1.0).embedding, [5.0, 1.0])
  with pytest.raises(InputError, match="empty"):
    inputs.encode_text(Ear(), " ")
  with pytest.raises(InputError, match="'spectral', which does not encode text"):
    inputs.encode_text(make_encoder("spectral"), "krump")


def test_a_dance_cannot_begin_where_its_music_has_ended(film):
  with pytest.raises(InputError, match="lasts 8.0.* earlier --music_start"):
    inputs.read_music(film, Ear(), 8.1)


@pytest.mark.parametrize(
  ("value", "bounds"), [(-1, "at least 0"), (np.nan, "at least 0")]
)
def test_a_number_out_of_range_names_range_and_value(value, bounds):
  with pytest.raises(InputError, match=f"music_start must be {bounds}"):
    inputs.check_number("music_start", value, 0.0)
  inputs.check_number("music_start", 0.0, 0.0)


def test_options_out_of_range_or_in_conflict_are_refused():
  for bpm in (0.0, 1000.0, np.nan):
    with pytest.raises(InputError, match="bpm must be from 30 to 300"):
      DanceOptions(bpm=float(bpm))
  for scale in (-1.0, 1000.0):
    with pytest.raises(InputError, match="guidance_scale must be from 0 to 20"):
      DanceOptions(guidance_scale=scale)
  with pytest.raises(InputError, match="one of them"):
    DanceOptions(bpm=120.0, beats=[0.5])
  with pytest.raises(InputError, match="leave out --beat_tracker"):
    DanceOptions(beat_tracker="crnn", beats=[0.5])
  with pytest.raises(InputError, match="fps must be from 1 to 60"):
    DanceOptions(fps=120)
  for decoded in ({"drawing": "decoder"}, {"joining": "chain"}):
    with pytest.raises(InputError, match="fps belongs to layers"):
      DanceOptions(fps=30, **decoded)
  for name in ("drawing", "joining", "short_music"):
    with pytest.raises(InputError, match=f"{name} is one of .*, .*[a-z]\\."):
      DanceOptions(**{name: "Layers"})
  with pytest.raises(TypeError, match="num_step"):
    DanceOptions(num_step=3)
  with pytest.raises(InputError, match="duration must be from 0.001 to 86400, not 0"):
    DanceOptions(duration=0)


def test_numbers_of_every_type_can_be_written_as_settings(unchecked_types):
  half = DanceOptions(music_start=Fraction(1, 2), guidance_scale=np.float32(0.5))
  assert json.dumps([half.music_start, half.guidance_scale]) == "[0.5, 0.5]"


@pytest.mark.parametrize("name", ["seed", "pick", "size", "fps"])
def test_an_option_that_counts_takes_whole_numbers_only(name, unchecked_types):
  for value in (20.5, np.float32(20.5)):
    with pytest.raises(InputError, match=f"{name} must be a whole number, not 20.5"):
      DanceOptions(**{name: value})
  with pytest.raises(InputError, match=f"{name} must be .*, not '20'"):
    DanceOptions(**{name: "20"})
  DanceOptions(**{name: np.int32(20)})
