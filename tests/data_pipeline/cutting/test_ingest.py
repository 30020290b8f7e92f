"""From a video file to records: the same window of picture, sound, beats and truth."""

import librosa
import numpy as np
import pytest
from clip_examples import RATE, ToySource, toy_frames

from data_pipeline.cutting import ingest
from data_pipeline.cutting.ingest import ClipFormat
from data_pipeline.cutting.windows import Windows
from data_pipeline.media import reader, writer
from data_pipeline.media.errors import MediaError
from data_pipeline.music.beats import beat_vector
from data_pipeline.music.encoders import make_encoder
from data_pipeline.records import clip_record
from data_pipeline.sources.base import Film, SourceVideo, SynthDance

FORM = ClipFormat(num_frames=10, fps=10, frame_size=16)
BEATS = np.arange(0.25, 7.9, 0.5)


def cut(folder, source, index=1, form=FORM, num_windows=1):
  video = source.survey().videos[index]
  film = source.film(video, folder)
  encoder, windows = make_encoder("spectral"), Windows("random", num_windows)
  done = ingest.cut_film(video, film, BEATS, form, encoder, windows)
  return list(done.records)


def test_picture_sound_and_beats_are_of_one_window(tmp_path):
  for record in cut(tmp_path, ToySource(), num_windows=2):
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
  """An encoder that keeps what it was given."""

  name, size, sample_rate, identity = "at48", 2, 48_000, {}

  def __init__(self):
    self.heard = []

  def __call__(self, audio, sample_rate): ...

  def encode_batch(self, sounds, sample_rate):
    assert sample_rate == self.sample_rate
    self.heard += sounds
    return np.ones((len(sounds), 2), np.float32)


@pytest.mark.parametrize(("num_frames", "status"), [(20, "whole"), (5, "looped")])
def test_the_encoder_hears_the_window_at_its_own_rate(tmp_path, num_frames, status):
  noise = np.random.default_rng(0).uniform(-0.5, 0.5, num_frames * 4410)
  path = tmp_path / "noise.mp4"
  writer.write_video(
    path, toy_frames(num_frames), 10, noise.astype(np.float32), 44_100
  )  # fmt: skip
  video, encoder = ToySource().survey().videos[1], At48()
  form = ClipFormat(num_frames=10, fps=10, frame_size=16, short="loop")
  done = ingest.cut_film(video, Film(path), BEATS, form, encoder, Windows("random", 1))
  (record,), (heard,) = list(done.records), encoder.heard
  assert done.status == status and heard.shape == (48_000,)
  power = np.abs(np.fft.rfft(heard)) ** 2
  # The window of the record, and what the record's rate cannot hold.
  assert power[11_100:15_000].mean() > 0.3 * power[5000:11_000].mean()
  again = librosa.resample(heard, orig_sr=48_000, target_sr=RATE)
  # Either begins at a sample of its own, which noise notices.
  assert np.corrcoef(again, record["audio"])[0, 1] > 0.7


def test_too_short_gives_no_record_and_bad_settings_are_refused(tmp_path):
  assert cut(tmp_path, ToySource(short=1)) == []
  with pytest.raises(ValueError, match="squash"):
    ClipFormat(framing="squash")
  with pytest.raises(ValueError, match="8 pixels"):
    ClipFormat(frame_size=8)


def test_a_bad_video_is_a_media_error(tmp_path):
  with pytest.raises(MediaError, match="toy1.mp4"):
    cut(tmp_path, ToySource(bad=1))


def test_truth_follows_the_picture_of_a_generated_film(tmp_path):
  source = SynthDance("smoke")
  names = [video.name for video in source.survey().videos]
  index = names.index("gHO_sBM_c01_d20_mHO2_ch07")  # 16:9 at 59.94 fps
  form = ClipFormat(num_frames=10, fps=10, frame_size=64)
  (record,) = cut(tmp_path, source, index, form)
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
  # A window later in the video shifts the truth with it.
  still = np.abs(np.diff(record["joints2d"], axis=0)).max()
  assert still > 0.2
  beats = beat_vector(record["true_beat_times"], 0, 10, 10)
  assert beats.sum() >= 1


def test_digest_knows_pictures_sound_and_beats(tmp_path):
  (record,) = cut(tmp_path, ToySource())
  digest = ingest.content_digest(record)
  for key in ("frames", "audio", "beat_times"):
    changed = record[key].copy()
    changed.flat[0] += 1
    assert ingest.content_digest(record | {key: changed}) != digest
  features = clip_record.encode(record) | {"digest": digest}
  ingest.save_result(tmp_path / "a.npz", features)
  loaded = ingest.load_result(tmp_path / "a.npz")
  assert loaded["digest"] == digest and loaded["name"] == "toy1"
  assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("name", ["../a", "a/b", "", ".a", "a b"])
def test_names_that_leave_their_folder_are_refused(name):
  with pytest.raises(ValueError, match="cannot name a file"):
    SourceVideo(name=name, split="train", song="s", song_start_seconds=0.0)


def test_overlapping_windows_are_decoded_once(tmp_path, monkeypatch):
  source = ToySource()
  video = source.survey().videos[0]
  film = source.film(video, tmp_path)
  asked = []

  def read_frames(path, wanted, read=reader.read_frames):
    asked.append(wanted.tolist())
    return read(path, wanted)

  monkeypatch.setattr(reader, "read_frames", read_frames)
  windows = Windows("strided", 0.3)
  done = ingest.cut_film(video, film, BEATS, FORM, make_encoder("spectral"), windows)
  records = list(done.records)
  assert asked == [list(range(20 - 1))]  # the last frame is in no window
  assert [record["start_seconds"] for record in records] == pytest.approx(
    [0, 0.3, 0.6, 0.9]
  )
  for record in records:
    levels = (record["frames"][:, 8, 8, 0].astype(int) - 40 + 4) // 8
    first = round(record["start_seconds"] * 10)
    np.testing.assert_array_equal(levels, first + np.arange(10))
