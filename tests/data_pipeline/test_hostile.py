"""Each bad file is refused in one line, each odd one is used, none stops a build."""

import os
import pathlib

import hostile_files
import numpy as np
import pytest
from clip_examples import RATE, click_song

from data_pipeline import build
from data_pipeline.building.video_work import Settings, VideoCut, find_beats
from data_pipeline.cutting.ingest import ClipFormat
from data_pipeline.media import writer
from data_pipeline.media.errors import MediaError
from data_pipeline.records.clip_record import decode_video
from data_pipeline.sources.folder_source import Folder

FORM = ClipFormat(num_frames=10, fps=10, frame_size=16)


def cut(folder, form=FORM):
  """The outcome of the one video in a folder: its status, and its records."""
  settings = Settings(Folder(str(folder)), form)
  survey = settings.source.survey()
  (video,) = survey.videos
  beats = find_beats(settings, video.song, survey.songs[video.song])
  found = VideoCut(settings, video, beats, pathlib.Path(folder))
  return found.status, list(found)


@pytest.mark.parametrize(
  "kind, reason",
  [
    ("empty", "the file is empty"),
    ("text", "not a video or sound file"),
    ("playlist", "not a video or sound file"),
    ("truncated", "broken sound|cut short"),
    ("sound_only", "no picture"),
    ("no_sound", "no sound"),
    ("three_hours", "180 minutes are too long"),
    ("huge", "4096x3000 pixels are too many"),
    ("tiny", "8x8 pixels are too few"),
  ],
)
def test_bad_files_are_refused_in_one_line(tmp_path, kind, reason):
  path = hostile_files.make(kind, tmp_path)
  for other in tmp_path.iterdir():
    if other != path:
      other.unlink()
  with pytest.raises(MediaError, match=reason) as error:
    cut(tmp_path)
  assert "\n" not in str(error.value) and kind in str(error.value)


@pytest.mark.parametrize(
  "kind", ["plain", "variable_rate", "ten_bit", "surround", "old_container", "flash"]
)
def test_odd_files_are_used(tmp_path, kind):
  hostile_files.make(kind, tmp_path)
  status, (record,) = cut(tmp_path)
  assert status == "whole"
  frames = record["frames"]
  assert record["audio"].dtype == np.int16 and len(frames)
  # Clicks are heard whatever the channels.
  assert np.abs(record["audio"]).max() > 5000


def test_names_that_are_no_text_cost_a_line_each(tmp_path):
  folder = tmp_path / "videos"
  folder.mkdir()
  hostile_files.make("plain", folder)
  latin = os.fsencode(folder) + "/tänzer.mp4".encode("latin-1")
  os.link(folder / "plain.mp4", latin)
  (folder / "two\nlines.mp4").touch()
  (folder / "nowhere.mp4").symlink_to(tmp_path / "gone.mp4")
  with open(os.fsencode(folder) + b"/\xff.mp4", "wb"):
    pass
  manifest = build.build(Settings(Folder(str(folder)), FORM), tmp_path / "set", 1)
  assert manifest["report"] == {"broken": 3}
  assert sum(count["found"] for count in manifest["videos"].values()) == 5
  lines = (tmp_path / "set" / "report.csv").read_text().splitlines()
  assert len(lines) == 4 and "two lines.mp4: the file is empty" in "".join(lines)
  assert "no such file" in "".join(lines)


def test_phone_video_is_upright(tmp_path):
  hostile_files.make("rotated", tmp_path)
  _, (record,) = cut(tmp_path)
  picture = decode_video(record["frames"])[0, :, :, 0]
  bars = np.nonzero(picture.max(axis=0) < 20)[0]
  assert len(bars) == 7 and not set(bars) & set(range(4, 12))  # 18x32: 9 of 16 columns
  assert picture[1:7, 8].min() > 200 and picture[9:15, 8].max() < 100


def test_one_frame_is_too_short_or_repeated(tmp_path):
  hostile_files.make("one_frame", tmp_path)
  assert cut(tmp_path) == ("too_short", [])
  for short, status in (("pad", "padded"), ("loop", "looped")):
    form = ClipFormat(10, 10, 16, short=short)
    found, (record,) = cut(tmp_path, form)
    assert found == status


def test_noise_in_a_file_never_does_more_than_refuse_it(tmp_path):
  refused = 0
  for seed in range(20):
    folder = tmp_path / str(seed)
    folder.mkdir()
    hostile_files.make(f"noise{seed}", folder)
    try:
      cut(folder)
    except MediaError as error:
      refused += 1
      assert "\n" not in str(error)
  assert 0 < refused < 20


def test_a_song_beside_a_silent_video(tmp_path):
  path = hostile_files.make("no_sound", tmp_path)
  song = click_song()
  frames = np.zeros((80, 16, 16, 3), np.uint8)
  writer.write_video(tmp_path / "song.mp4", frames, 10, song, RATE)
  (tmp_path / "song.mp4").rename(path.with_suffix(".m4a"))
  _, (record,) = cut(tmp_path)
  start = round(record["start_seconds"] * RATE)
  expected = song[start : start + RATE]
  assert np.corrcoef(expected, record["audio"])[0, 1] > 0.95
  np.testing.assert_allclose(np.diff(record["beat_times"]), 0.5, atol=0.05)


def test_padded_is_still_and_silent_looped_starts_again(tmp_path):
  hostile_files.make("plain", tmp_path)  # 2 s, frame i is grey 40 + 8 i
  _, (padded,) = cut(tmp_path, ClipFormat(30, 10, 16, short="pad"))
  grey = decode_video(padded["frames"])[:, 8, 8, 0].astype(int)
  assert len(set(grey[19:])) == 1 and grey[19] > grey[10] > grey[0]
  assert not padded["audio"][2 * RATE + 100 :].any()
  assert padded["beat_times"].max() < 2.05
  _, (looped,) = cut(tmp_path, ClipFormat(30, 10, 16, short="loop"))
  grey = decode_video(looped["frames"])[:, 8, 8, 0].astype(int)
  np.testing.assert_array_equal(grey[20:], grey[:10])
  audio = looped["audio"]
  np.testing.assert_array_equal(audio[2 * RATE :], audio[:RATE])
  first = looped["beat_times"][looped["beat_times"] < 1]
  np.testing.assert_allclose(
    looped["beat_times"][(looped["beat_times"] >= 2) & (looped["beat_times"] < 3)],
    first + 2,
    atol=1e-6,
  )
