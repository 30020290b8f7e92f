"""Bad files are refused in one line, unusual ones are used, and no build stops."""

import os
import pathlib

import hostile_files
import numpy as np
import pytest
from clip_examples import RATE, click_song

from data_pipeline.building.local_build import build_locally
from data_pipeline.building.settings import BuildSettings
from data_pipeline.building.video_work import cut_video, find_beats
from data_pipeline.cutting.ingest import ClipFormat
from data_pipeline.media import writer
from data_pipeline.media.errors import MediaError
from data_pipeline.records.clip_record import decode_video
from data_pipeline.sources.folder_source import FolderSource

FORM = ClipFormat(num_frames=10, fps=10, frame_size=16)


def cut_folder(folder):
  """Cuts the only video in a folder, and returns its status and its records."""
  settings = BuildSettings(FolderSource(str(folder)), FORM)
  survey = settings.source.survey()
  (video,) = survey.videos
  beats = find_beats(settings, video.song, survey.songs[video.song])
  cut = cut_video(settings, video, beats, pathlib.Path(folder))
  return cut.status, list(cut.records)


@pytest.mark.parametrize(
  "kind, reason",
  [
    ("empty", "the file is empty"),
    ("text", "not a readable video or sound file"),
    ("playlist", "not a readable video or sound file"),
    ("truncated", "broken sound|truncated, it has"),
    ("sound_only", "no picture"),
    ("no_sound", "no sound"),
    ("three_hours", "lasts more than 10 minutes"),
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
    cut_folder(tmp_path)
  assert "\n" not in str(error.value) and kind in str(error.value)


@pytest.mark.parametrize(
  "kind", ["plain", "variable_rate", "ten_bit", "surround", "old_container", "flash"]
)
def test_unusual_files_are_used(tmp_path, kind):
  hostile_files.make(kind, tmp_path)
  status, (record,) = cut_folder(tmp_path)
  assert status == "whole"
  frames = record["frames"]
  assert record["audio"].dtype == np.int16 and len(frames)
  # The clicks are audible whatever the channels.
  assert np.abs(record["audio"]).max() > 5000


def test_names_that_are_not_text_cost_a_line_each(tmp_path):
  folder = tmp_path / "videos"
  folder.mkdir()
  hostile_files.make("plain", folder)
  latin = os.fsencode(folder) + "/tänzer.mp4".encode("latin-1")
  os.link(folder / "plain.mp4", latin)
  (folder / "two\nlines.mp4").touch()
  (folder / "nowhere.mp4").symlink_to(tmp_path / "gone.mp4")
  with open(os.fsencode(folder) + b"/\xff.mp4", "wb"):
    pass
  settings = BuildSettings(FolderSource(str(folder)), FORM)
  manifest = build_locally(settings, tmp_path / "set", 1)
  assert manifest["report"] == {"broken": 3}
  assert sum(count["found"] for count in manifest["videos"].values()) == 5
  lines = (tmp_path / "set" / "report.csv").read_text().splitlines()
  assert len(lines) == 4 and "two lines.mp4: the file is empty" in "".join(lines)
  assert "no such file" in "".join(lines)


def test_a_phone_video_is_turned_upright(tmp_path):
  hostile_files.make("rotated", tmp_path)
  _, (record,) = cut_folder(tmp_path)
  picture = decode_video(record["frames"])[0, :, :, 0]
  bars = np.nonzero(picture.max(axis=0) < 20)[0]
  assert len(bars) == 7 and not set(bars) & set(range(4, 12))  # 18x32: 9 of 16 columns
  assert picture[1:7, 8].min() > 200 and picture[9:15, 8].max() < 100


def test_one_frame_is_too_short(tmp_path):
  hostile_files.make("one_frame", tmp_path)
  assert cut_folder(tmp_path) == ("too_short", [])


def test_noise_in_a_file_does_no_more_than_get_it_refused(tmp_path):
  refused = 0
  for seed in range(20):
    folder = tmp_path / str(seed)
    folder.mkdir()
    hostile_files.make(f"noise{seed}", folder)
    try:
      cut_folder(folder)
    except MediaError as error:
      refused += 1
      assert "\n" not in str(error)
  assert 0 < refused < 20


def test_a_song_beside_a_silent_video_is_used(tmp_path):
  path = hostile_files.make("no_sound", tmp_path)
  song = click_song()
  frames = np.zeros((80, 16, 16, 3), np.uint8)
  writer.write_video(tmp_path / "song.mp4", frames, 10, song, RATE)
  (tmp_path / "song.mp4").rename(path.with_suffix(".m4a"))
  _, (record,) = cut_folder(tmp_path)
  start = round(record["start_seconds"] * RATE)
  expected = song[start : start + RATE]
  assert np.corrcoef(expected, record["audio"])[0, 1] > 0.95
  np.testing.assert_allclose(np.diff(record["beat_times"]), 0.5, atol=0.05)
