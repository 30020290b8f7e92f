"""Picture, sound, beats and truth of a record belong to the same window."""

import av
import librosa
import numpy as np
import pytest
from clip_examples import RATE, ToySource, toy_frames

from data_pipeline.cutting import ingest
from data_pipeline.cutting.ingest import ClipFormat
from data_pipeline.cutting.windows import Windows
from data_pipeline.media import reader, writer
from data_pipeline.media.errors import MediaError
from data_pipeline.media.pcm import sound_to_int16
from data_pipeline.music.beats import beat_vector
from data_pipeline.music.encoders import make_encoder
from data_pipeline.sources.base import SourceVideo, VideoFile
from data_pipeline.sources.synthdance_source import SynthDanceSource

FORM = ClipFormat(num_frames=10, fps=10, frame_size=16)
BEATS = np.arange(0.25, 7.9, 0.5)


def cut_records(folder, source, index=1, form=FORM, num_windows=1):
  """Returns the records of one video of a source."""
  video = source.survey().videos[index]
  file = source.video_file(video, folder)
  encoder, windows = make_encoder("spectral"), Windows("random", num_windows)
  return list(ingest.cut_clips(video, file, BEATS, form, encoder, windows).records)


def test_picture_sound_and_beats_are_of_one_window(tmp_path):
  for record in cut_records(tmp_path, ToySource(), num_windows=2):
    assert record["frames"].shape == (10, 16, 16, 3)
    rows = np.flatnonzero(record["frames"].any((0, 2, 3)))
    assert (rows[0], rows[-1]) == (3, 11)  # 16:9 in 16
    numbers = (record["frames"][:, 8, 8, 0].astype(float) - 40) / 8
    start = record["start_seconds"]
    np.testing.assert_allclose(numbers, 10 * start + np.arange(10), atol=0.7)
    song_start = start + 0.1
    expected = BEATS[(BEATS > song_start - 0.5) & (BEATS < song_start + 1.5)]
    np.testing.assert_allclose(record["beat_times"], expected - song_start, atol=1e-9)
    assert record["audio"].shape == (RATE,)
    loud = np.flatnonzero(np.abs(record["audio"]) > 10_000) / RATE
    inside = record["beat_times"][(record["beat_times"] > 0.02)]
    inside = inside[inside < 0.95]
    assert len(inside) and all(np.abs(loud - beat).min() < 0.005 for beat in inside)


class At48:
  """Keeps the sounds that it is given to encode."""

  name, size, sample_rate, identity = "at48", 2, 48_000, {}

  def __init__(self):
    self.sounds = []

  def __call__(self, audio, sample_rate): ...

  def encode_batch(self, sounds, sample_rate):
    assert sample_rate == self.sample_rate
    self.sounds += sounds
    return np.ones((len(sounds), 2), np.float32)


def test_the_encoder_gets_the_window_at_its_own_rate(tmp_path):
  noise = np.random.default_rng(0).uniform(-0.5, 0.5, 2 * 44_100)
  path = tmp_path / "noise.mp4"
  writer.write_video(path, toy_frames(20), 10, noise.astype(np.float32), 44_100)
  video, encoder = ToySource().survey().videos[1], At48()
  cut = ingest.cut_clips(
    video, VideoFile(path), BEATS, FORM, encoder, Windows("random", 1)
  )
  (record,), (sound,) = list(cut.records), encoder.sounds
  assert cut.status == "whole" and sound.shape == (48_000,)
  power = np.abs(np.fft.rfft(sound)) ** 2
  # It is the window of the record, with frequencies above the record's rate.
  assert power[11_100:15_000].mean() > 0.3 * power[5000:11_000].mean()
  resampled = librosa.resample(sound, orig_sr=48_000, target_sr=RATE)
  # The two start at slightly different samples, which matters for noise.
  assert np.corrcoef(resampled, record["audio"])[0, 1] > 0.7


def test_a_video_that_is_too_short_gives_no_record(tmp_path):
  assert cut_records(tmp_path, ToySource(short=1)) == []


def test_what_is_odd_about_a_film_is_noted_or_left_out(tmp_path):
  with av.open(str(tmp_path / "a.mkv"), "w") as film:
    stream = film.add_stream("ffv1", rate=10)
    stream.height, stream.width = 18, 32
    stream.codec_context.color_trc = 16  # HDR
    for i, image in enumerate(toy_frames(38)):
      frame = av.VideoFrame.from_ndarray(image, format="rgb24")
      frame.pts = i + 20 * (i >= 12)  # a pause
      film.mux(stream.encode(frame))
    film.mux(stream.encode(None))
  file = VideoFile(tmp_path / "a.mkv", sound=tmp_path / "a.mp4")
  video = ToySource().survey().videos[0]
  encoder, windows = make_encoder("spectral"), Windows("strided", 0.5)
  for level, last in ((0.5, []), (0.0, [4.7])):  # all silent: as it is
    audio = np.full(45 * RATE // 10, level, np.float32)
    writer.write_video(file.sound, toy_frames(9), 2, audio, RATE)
    with reader.collect_notes() as notes:
      cut = ingest.cut_clips(video, file, BEATS[:1], FORM, encoder, windows)
      starts = [record["start_seconds"] for record in cut.records]
    np.testing.assert_allclose(starts, [0, 3.2, 3.7, 4.2, *last])
    said = " ".join(note.text for note in notes)
    for words in ("pauses", "beats to 0.2 s, a clip ends at 5.7", "HDR"):
      assert words in said
    assert ("1 of 5 windows are silent, 1" in said) == (not last)


def test_impossible_formats_are_refused():
  with pytest.raises(ValueError, match="squash"):
    ClipFormat(framing="squash")
  with pytest.raises(ValueError, match="8 pixels"):
    ClipFormat(frame_size=8)


def test_a_bad_video_is_a_media_error(tmp_path):
  with pytest.raises(MediaError, match="toy1.mp4"):
    cut_records(tmp_path, ToySource(bad=1))


def test_the_sound_of_a_generated_video_went_through_no_encoder(tmp_path):
  (record,) = cut_records(tmp_path, SynthDanceSource("smoke"), index=0)
  start = round(record["start_seconds"] * RATE)
  exact, encoded = (
    reader.read_audio(tmp_path / f"{record['name']}{suffix}", RATE)[start:][:RATE]
    for suffix in (".wav", ".mp4")
  )
  np.testing.assert_array_equal(record["audio"], sound_to_int16(exact))
  assert np.abs(exact - encoded).max() > 1e-3  # else this would test nothing


def test_the_truth_follows_the_picture_of_a_generated_video(tmp_path):
  source = SynthDanceSource("smoke")
  names = [video.name for video in source.survey().videos]
  index = names.index("gHO_sBM_c01_d20_mHO2_ch07")  # 16:9 at 59.94 fps
  form = ClipFormat(num_frames=10, fps=10, frame_size=64)
  (record,) = cut_records(tmp_path, source, index, form)
  body = record["part_map"] > 0
  assert body.any((1, 2)).all()
  frames = record["frames"].astype(np.int32)
  scene = np.median(frames[:, 16:20], axis=(0, 1, 2))  # the wall above
  differs = np.abs(frames - scene).max(-1) > 40
  assert differs[body].mean() > 0.7
  joints = np.round(record["joints2d"]).astype(int)
  assert (joints >= 0).all() and (joints < 64).all()
  near = body | np.roll(body, 1, 1) | np.roll(body, -1, 1) | np.roll(body, 1, 2)
  on_body = near[np.arange(10)[:, None], joints[..., 1], joints[..., 0]]
  assert on_body.mean() > 0.8
  assert np.abs(np.diff(record["joints2d"], axis=0)).max() > 0.2  # the dancer moves
  beats = beat_vector(record["true_beat_times"], 0, 10, 10)
  assert beats.sum() >= 1


@pytest.mark.parametrize("name", ["../a", "a/b", "", ".a", "a b"])
def test_names_that_leave_their_folder_are_refused(name):
  with pytest.raises(ValueError, match="cannot name a file"):
    SourceVideo(name=name, split="train", song="s", song_start_seconds=0.0)


def test_overlapping_windows_are_decoded_once(tmp_path, monkeypatch):
  source = ToySource()
  video = source.survey().videos[0]
  file = source.video_file(video, tmp_path)
  asked = []

  def read_frames(path, wanted, read=reader.read_frames):
    asked.append(wanted.tolist())
    return read(path, wanted)

  monkeypatch.setattr(reader, "read_frames", read_frames)
  windows = Windows("strided", 0.3)
  encoder = make_encoder("spectral")
  cut = ingest.cut_clips(video, file, BEATS, FORM, encoder, windows)
  records = list(cut.records)
  assert asked == [list(range(20 - 1))]  # the last frame is in no window
  assert [record["start_seconds"] for record in records] == pytest.approx(
    [0, 0.3, 0.6, 0.9]
  )
  for record in records:
    levels = (record["frames"][:, 8, 8, 0].astype(int) - 40 + 4) // 8
    first = round(record["start_seconds"] * 10)
    np.testing.assert_array_equal(levels, first + np.arange(10))
