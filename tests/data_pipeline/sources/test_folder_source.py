"""A folder of videos: names, splits, metadata, shots."""

import numpy as np
import pytest
from clip_examples import RATE, click_song, toy_frames

from data_pipeline.cutting import shots
from data_pipeline.media import writer
from data_pipeline.sources.folder_source import Folder


@pytest.fixture
def folder(tmp_path):
  """Twenty 'videos' (the survey does not open them) in two folders."""
  for i in range(20):
    path = tmp_path / "videos" / f"part {i % 2}" / f"tänzer {i}.MP4"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"video %d" % (i // 2 if i < 4 else i))  # two pairs of copies
  (tmp_path / "videos" / "notes.txt").write_text("no video")
  (tmp_path / "videos" / ".hidden.mp4").write_text("")
  return tmp_path


def survey(folder, text=None, **settings):
  metadata = None
  if text is not None:
    metadata = str(folder / "list.csv")
    (folder / "list.csv").write_text(text)
  return Folder(str(folder / "videos"), metadata, **settings).survey()


def test_names_are_safe_and_unique_and_copies_go_together(folder):
  found = survey(folder, test_percent=30)
  assert len({video.name for video in found.videos}) == 20
  assert sum(video.split == "test" for video in found.videos) >= 5
  split = {video.file.rpartition(" ")[2]: video.split for video in found.videos}
  assert split["0.MP4"] == split["1.MP4"] and split["2.MP4"] == split["3.MP4"]
  assert found.videos == survey(folder, test_percent=30).videos
  more = {v.name for v in survey(folder, test_percent=60).videos if v.split == "test"}
  assert {v.name for v in found.videos if v.split == "test"} < more
  assert all(v.split == "train" for v in survey(folder, test_percent=0).videos)


def test_metadata_lists_what_is_used(folder):
  found = survey(
    folder,
    "file,split,song,genre,who\n"
    "part 0/tänzer 0.MP4,train,hit,Tango,x\n"
    "part 1/tänzer 1.MP4,dev,,,\n"
    "part 0/tänzer 2.MP4,../../etc,,,\n"
    "part 0/tänzer 4.MP4,,hit,\x07,\n"
    "../../outside.mp4,train,,,\n"
    "/etc/passwd,train,,,\n",
  )
  assert [(v.split, v.track, v.genre) for v in found.videos] == [
    ("train", "hit", "Tango"),
    ("dev", "", ""),
  ]
  problems = {f.name: f.status for f in found.findings}
  assert problems["../../outside.mp4"] == problems["/etc/passwd"] == "missing"
  assert problems["part 0/tänzer 2.MP4"] == "ignored"
  assert problems["part 0/tänzer 4.MP4"] == "ignored"
  assert sum(status == "unlisted" for status in problems.values()) == 16


def test_songs_of_the_metadata_are_not_torn_apart(folder):
  rows = "".join(f"part {i % 2}/tänzer {i}.MP4,s{i % 5}\n" for i in range(20))
  found = survey(folder, "file,song\n" + rows, test_percent=40)
  splits = {}
  for video in found.videos:
    splits.setdefault(video.track, set()).add(video.split)
  assert all(len(parts) == 1 for parts in splits.values())
  assert sum(parts == {"test"} for parts in splits.values()) == 2


@pytest.mark.parametrize("text", ["", "name\na\n", "file\na\na\n", "file\n\x00\n"])
def test_bad_metadata_is_refused_in_one_line(folder, text):
  if "\x00" in text:  # a line of csv may hold it or not, by the Python version
    survey(folder, text)
    return
  with pytest.raises(ValueError, match="cannot be used as metadata") as error:
    survey(folder, text)
  assert "\n" not in str(error.value)


def test_no_folder(tmp_path):
  with pytest.raises(ValueError, match="no such folder"):
    Folder(str(tmp_path / "absent"))


def test_shots_end_at_cuts_and_motion_is_none(tmp_path):
  rng = np.random.default_rng(0)
  dance = np.zeros((40, 36, 64, 3), np.uint8)
  scenes = rng.integers(60, 255, (2, 36, 64, 3), np.uint8)
  for i, frame in enumerate(dance):
    frame[:] = scenes[int(i >= 23)]
    x = 4 + (i * 9) % 44  # something wild in front of it
    frame[8:20, x : x + 8] = 20
  path = tmp_path / "cut.mp4"
  writer.write_video(path, dance, 10, None, RATE)
  (first, second) = shots.find_shots(path)
  assert first[0] == 0 and 2.2 <= first[1] < 2.3 <= second[0] < 2.4
  writer.write_video(path, dance[:23], 10, click_song()[: 2 * RATE], RATE)
  assert shots.find_shots(path) == [(0.0, np.inf)]
  writer.write_video(path, toy_frames(20), 10, None, RATE)  # a fade
  assert len(shots.find_shots(path)) == 1
