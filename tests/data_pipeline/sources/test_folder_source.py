"""A folder of videos gets safe names, splits by song, and shots."""

import numpy as np
import pytest
from clip_examples import RATE, click_song, toy_frames

from data_pipeline.cutting import shots
from data_pipeline.media import writer
from data_pipeline.sources.folder_source import FolderSource, _choose_test_groups


@pytest.fixture
def folder(tmp_path):
  """Writes twenty 'videos' (the survey does not open them) in two folders."""
  for i in range(20):
    path = tmp_path / "videos" / f"part {i % 2}" / f"tänzer {i}.MP4"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = b"video %d" % (i // 2 if i < 4 else i)  # two pairs of copies
    path.write_bytes(content.ljust(2000))
  (tmp_path / "videos" / "notes.txt").write_text("not a video")
  (tmp_path / "videos" / ".hidden.mp4").write_text("")
  return tmp_path


def survey(folder, text=None, **settings):
  """Returns the survey of a folder, with `text` as its metadata."""
  metadata = None
  if text is not None:
    metadata = str(folder / "list.csv")
    (folder / "list.csv").write_text(text)
  return FolderSource(str(folder / "videos"), metadata, **settings).survey()


def test_names_are_safe_and_unique_and_copies_go_together(folder):
  videos = survey(folder, test_percent=30).videos
  assert len({video.name for video in videos}) == 20
  assert sum(video.split == "test" for video in videos) >= 5
  split = {video.file.rpartition(" ")[2]: video.split for video in videos}
  assert split["0.MP4"] == split["1.MP4"] and split["2.MP4"] == split["3.MP4"]
  assert videos == survey(folder, test_percent=30).videos
  more = {v.name for v in survey(folder, test_percent=60).videos if v.split == "test"}
  assert {v.name for v in videos if v.split == "test"} < more
  assert all(v.split == "train" for v in survey(folder, test_percent=0).videos)


def test_songs_are_not_joined_by_files_that_are_no_film(folder):
  for part in (0, 1):
    (folder / "videos" / f"part {part}" / "empty.mp4").touch()
  text = "file,split,song\npart 0/empty.mp4,,a\npart 1/empty.mp4,,b\n"
  text += "part 0/tänzer 4.MP4,test,a\npart 1/tänzer 5.MP4,train,b\n"
  assert not [f for f in survey(folder, text).findings if f.status == "noted"]


def test_films_that_show_data_sets_are_no_videos(folder):
  root, before = folder / "videos", survey(folder).videos
  for made in (root, root / "set", root / "part 0"):
    for name in ("manifest.json", "shards/a", "inspect/a.mp4"):
      (made / name).parent.mkdir(parents=True, exist_ok=True)
      (made / name).touch()
  assert survey(folder).videos == before


def test_the_metadata_lists_the_videos_to_use(folder):
  listed = survey(
    folder,
    " file,Split,SONG ,genre,\n"
    "part 0/tänzer 0.MP4,train,hit,Tango,x\n"
    "./part 1//tänzer 1.MP4,dev,,,\n"
    ",,,,\n , ,,,\n"
    "part 0/tänzer 2.MP4,../../etc,,,\n"
    "part 0/tänzer 4.MP4,,hit,\x07,\n"
    "../../outside.mp4,train,,,\n"
    "/etc/passwd,train,,,\n",
  )
  assert [(v.split, v.track, v.genre) for v in listed.videos] == [
    ("train", "hit", "Tango"),
    ("dev", "", ""),
  ]
  problems = {f.name: f.status for f in listed.findings}
  assert problems["../../outside.mp4"] == problems["/etc/passwd"] == "missing"
  (reason,) = {f.reason for f in listed.findings if f.status == "missing"}
  assert "no such video under --videos; paths are relative" in reason
  assert problems["part 0/tänzer 2.MP4"] == "ignored"
  assert problems["part 0/tänzer 4.MP4"] == "ignored"
  assert sum(status == "unlisted" for status in problems.values()) == 16


def test_videos_of_one_song_are_in_the_same_split(folder):
  rows = "".join(f"part {i % 2}/tänzer {i}.MP4,s{i % 5}\n" for i in range(20))
  videos = survey(folder, "file,song\n" + rows, test_percent=40).videos
  splits_of_song = {}
  for video in videos:
    splits_of_song.setdefault(video.track, set()).add(video.split)
  assert all(len(splits) == 1 for splits in splits_of_song.values())
  assert 1 <= sum(splits == {"test"} for splits in splits_of_song.values()) <= 4


def test_a_split_given_to_one_video_of_a_song_holds_for_all_of_them(folder):
  text = "file,split,song\n"
  text += "".join(f"part 0/tänzer {2 * i}.MP4,,same\n" for i in range(9))
  copy = "part 1/tänzer 3.MP4,,other\npart 1/tänzer 5.MP4,,other\n"
  given = survey(folder, f"{text}{copy}part 1/tänzer 1.MP4,test,same\n")
  assert {v.split for v in given.videos} == {"test"}
  assert all(f.status == "unlisted" for f in given.findings)
  text += "part 1/tänzer 1.MP4,test,same\npart 1/tänzer 3.MP4,dev,same\n"
  mixed = survey(folder, text)
  assert [v.split for v in mixed.videos[-2:]] == ["test", "dev"]
  assert {v.split for v in mixed.videos[:-2]} == {"train"}
  noted = [f.reason for f in mixed.findings if f.status == "noted"]
  assert len(noted) == 11 and "several splits: dev, test" in noted[0]


def test_videos_keep_their_split_whatever_else_comes_and_goes():
  groups = [f"song {i}" for i in range(200)]
  chosen = _choose_test_groups(set(groups), 20)
  assert 20 <= len(chosen) <= 60
  for some in (groups[:50], groups[100:]):
    assert _choose_test_groups(set(some), 20) == chosen & set(some)
  assert not _choose_test_groups({"only"}, 99)
  assert len(_choose_test_groups({"one", "other"}, 99)) == 1
  assert len(_choose_test_groups({"one", "other"}, 1)) == 1
  assert not _choose_test_groups(set(groups), 0)


@pytest.mark.parametrize("text", ["", "name\na\n", "file\na\na\n", "file\n\x00\n"])
def test_bad_metadata_is_refused_in_one_line(folder, text):
  if "\x00" in text:  # some versions of Python accept it in a csv file
    survey(folder, text)
    return
  with pytest.raises(ValueError, match="cannot be used as metadata") as error:
    survey(folder, text)
  assert "\n" not in str(error.value)


def test_a_column_that_is_there_twice_is_named(folder):
  with pytest.raises(ValueError, match="two columns 'song'"):
    survey(folder, "file,song,Song\npart 0/tänzer 0.MP4,hit,miss\n")


def test_a_column_that_is_not_known_is_named_with_those_that_are(folder):
  with pytest.raises(ValueError, match="unknown column 'sogn'; known: file.*, song"):
    survey(folder, "file,sogn\npart 0/tänzer 0.MP4,hit\n")


def test_a_missing_folder_is_named(tmp_path):
  with pytest.raises(ValueError, match="absent: no such folder"):
    FolderSource(str(tmp_path / "absent"))


def test_shots_end_at_cuts_but_not_at_motion(tmp_path):
  rng = np.random.default_rng(0)
  dance = np.zeros((40, 36, 64, 3), np.uint8)
  scenes = rng.integers(60, 255, (2, 36, 64, 3), np.uint8)
  for i, frame in enumerate(dance):
    frame[:] = scenes[int(i >= 23)]
    x = 4 + (i * 9) % 44  # something moves wildly in front of it
    frame[8:20, x : x + 8] = 20
  path = tmp_path / "cut.mp4"
  writer.write_video(path, dance, 10, None, RATE)
  (first, second) = shots.find_shots(path)
  assert first[0] == 0 and 2.2 <= first[1] < 2.3 <= second[0] < 2.4
  writer.write_video(path, dance[:23], 10, click_song()[: 2 * RATE], RATE)
  assert shots.find_shots(path) == [(0.0, np.inf)]
  writer.write_video(path, toy_frames(20), 10, None, RATE)  # a fade
  assert len(shots.find_shots(path)) == 1
