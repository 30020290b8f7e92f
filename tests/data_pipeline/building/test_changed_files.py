"""A data set is complete for the files it was made from."""

import csv
import os
import shutil

import numpy as np
import pytest
from clip_examples import RATE, click_song, toy_frames
from inline_pool import InlinePool

from data_pipeline import build
from data_pipeline.building import local_build
from data_pipeline.media import writer
from data_pipeline.records import loader


@pytest.fixture
def folder(tmp_path, monkeypatch):
  """A folder of two videos of one second."""
  monkeypatch.setattr(local_build, "LocalPool", InlinePool)
  (tmp_path / "videos").mkdir()
  for name in "ab":
    video(tmp_path, name)
  return tmp_path


def video(folder, name, sound=1.0, level=0):
  frames, audio = toy_frames(12) // 2 + level, sound * click_song()[: 2 * RATE]
  writer.write_video(folder / "videos" / f"{name}.mp4", frames, 10, audio, RATE)


def run(folder, *more):
  """Builds, and returns the exit status, the clips by name, and the report."""
  command = ["--source=folder", f"--videos={folder}/videos", f"--output={folder}/set"]
  form = ["--num_frames=5", "--frame_size=16", "--workers=1", "--test_percent=0"]
  status = 0
  try:
    build.main([*command, *form, *more])
  except SystemExit as exit:
    status = exit.code
  clips = loader.open_clips(folder / "set", "train")
  with open(folder / "set" / "report.csv") as file:
    report = [(row["status"], row["name"][0]) for row in csv.DictReader(file)]
  return status, {clip["name"][0]: clip for clip in clips}, report


def test_what_was_added_changed_or_taken_away_is_made_anew(folder, capsys):
  _, before, report = run(folder)
  assert before.keys() == {"a", "b"} and not report
  run(folder)
  assert "was complete already" in capsys.readouterr().out
  (folder / "videos" / "a.mp4").unlink()
  video(folder, "b", level=100)
  video(folder, "c")
  note = next((folder / "set" / "work" / "clips").glob("b-*.json"))
  half = note.with_name(".half.npz")
  half.touch()  # as a killed worker leaves it
  _, after, report = run(folder)
  assert "has changed: 1 added, 1 changed, 1 gone" in capsys.readouterr().out
  assert after.keys() == {"b", "c"}
  assert report == [("added", "c"), ("changed", "b"), ("gone", "a")]
  assert after["b"]["frames"].mean() > before["b"]["frames"].mean() + 50
  assert note.is_file() and not half.exists()
  run(folder)
  assert "was complete already" in capsys.readouterr().out


@pytest.mark.parametrize(
  ("kind", "left"),
  [
    ("clips/*.json", None),
    ("clips/*.json", 20),
    ("clips/*.npz", None),
    ("clips/*.npz", 20),
    ("clips/*.npz", "ends"),
    ("songs/*.npz", 0),
    ("songs/*.npz", "ends"),
  ],
)
def test_unfinished_work_that_was_damaged_is_done_again(folder, kind, left):
  _, before, _ = run(folder)
  work = folder / "set" / "work"
  for note in work.glob("clips/*.json") if "songs" in kind else ():
    note.unlink()  # so that songs are asked for
  for path in work.glob(kind):
    content = path.read_bytes()
    if left is None:
      path.unlink()
    elif left == "ends":
      middle = len(content) // 2
      path.write_bytes(content[:middle] + bytes(64) + content[middle + 64 :])
    else:
      path.write_bytes(content[:left])
  video(folder, "c")
  status, after, _ = run(folder)
  assert status == 0 and after.keys() == {"a", "b", "c"}
  np.testing.assert_array_equal(after["a"]["frames"], before["a"]["frames"])


def test_clips_of_a_film_that_was_changed_and_changed_back_are_its_own(
  folder, monkeypatch
):
  def clips():
    found = loader.open_clips(folder / "set", "train")
    return {
      (clip["name"], clip["window"]): clip["frames"].mean()
      for clip in found
      if clip["name"][0] == "b"
    }

  run(folder)
  before = clips()
  path = folder / "videos" / "b.mp4"
  shutil.copy2(path, folder / "kept.mp4")
  video(folder, "b", level=100)

  def save_and_stop(*args):
    save_features(*args)
    raise KeyboardInterrupt

  save_features = local_build.save_features
  with monkeypatch.context() as patch:
    patch.setattr(local_build, "save_features", save_and_stop)
    assert run(folder)[0] == 130  # as Ctrl-C ends it
  shutil.copy2(folder / "kept.mp4", path)
  video(folder, "c")  # so that there is something to build
  run(folder)
  assert clips() == before


def test_time_stamps_are_compared_but_never_with_the_clock(folder, capsys):
  run(folder)
  for name, year in (("a", 1971), ("b", 2100)):
    seconds = (year - 1970) * 365.25 * 86400
    os.utime(folder / "videos" / f"{name}.mp4", (seconds, seconds))
  _, clips, report = run(folder)
  assert clips.keys() == {"a", "b"} and report == [("changed", "a"), ("changed", "b")]
  capsys.readouterr()
  run(folder)
  assert "was complete already" in capsys.readouterr().out


def test_a_broken_video_that_was_repaired_even_during_the_build_is_used(
  folder, monkeypatch
):
  whole = (folder / "videos" / "b.mp4").read_bytes()
  (folder / "videos" / "b.mp4").write_bytes(whole[:1000])

  def write_shards(*args, write=local_build._write_shards):
    (folder / "videos" / "b.mp4").write_bytes(whole)
    write(*args)

  monkeypatch.setattr(local_build, "_write_shards", write_shards)
  status, clips, report = run(folder)
  assert (status, set(clips), report) == (3, {"a"}, [("broken", "b")])
  status, clips, _ = run(folder)
  assert (status, set(clips)) == (0, {"a", "b"})


def test_a_video_that_may_be_read_now_is_used(folder, monkeypatch):
  may = lambda path, mode, ask=os.access: "b.mp4" not in str(path) and ask(path, mode)
  with monkeypatch.context() as patch:
    patch.setattr(os, "access", may)
    run(folder)
  _, clips, report = run(folder)
  assert set(clips) == {"a", "b"} and report == [("changed", "b")]


def test_metadata_may_change(folder, capsys):
  (folder / "list.csv").write_text("file,genre\na.mp4,Tango\n")
  _, clips, _ = run(folder, f"--metadata={folder}/list.csv")
  assert clips["a"]["genre"] == "Tango"
  (folder / "list.csv").write_text("file,genre\na.mp4,Waltz\nb.mp4,Tango\n")
  assert "warning" not in capsys.readouterr().out
  _, clips, _ = run(folder, f"--metadata={folder}/list.csv")
  assert [clips[name]["genre"] for name in "ab"] == ["Waltz", "Tango"]
  (folder / "list.csv").write_text("file,split\na.mp4,test\nb.mp4,train\n")
  run(folder, f"--metadata={folder}/list.csv")
  assert "clips of train are in test now" in capsys.readouterr().out


@pytest.mark.parametrize("suffix", [".wav", ".MP3"])
def test_the_song_beside_a_video_with_a_silent_track_is_used(folder, suffix):
  video(folder, "a", sound=0.0)
  shutil.copy(folder / "videos" / "b.mp4", folder / "videos" / f"a{suffix}")
  _, clips, report = run(folder)
  assert not report
  assert np.abs(clips["a"]["audio"]).max() > 1000
  assert len(clips["a"]["beat_times"])


def test_a_video_without_any_sound_to_hear_is_reported(folder):
  video(folder, "a", sound=0.0)
  status, clips, report = run(folder)
  assert (status, set(clips), report) == (0, {"a", "b"}, [("silent", "a")])
