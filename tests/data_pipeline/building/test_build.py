"""A data set is built whole or not at all, and only once."""

import csv
import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from clip_examples import ToySource, assert_same, make_record
from inline_pool import InlinePool
from stores import objects
from tensorflow_datasets.core import shuffle

from data_pipeline import build, files
from data_pipeline.building import local_build
from data_pipeline.building import manifest as manifests
from data_pipeline.building import settings as building_settings
from data_pipeline.building.data_set import BuildError, open_work
from data_pipeline.building.local_build import (
  build_locally,
  load_features,
  save_features,
)
from data_pipeline.building.local_pool import LocalPool
from data_pipeline.building.settings import BuildSettings
from data_pipeline.building.video_work import cut_video, outcome_of
from data_pipeline.cutting.ingest import ClipFormat
from data_pipeline.cutting.windows import Windows
from data_pipeline.locks import LockedError
from data_pipeline.media.notes import collect_notes
from data_pipeline.music.librosa_tracker import LibrosaTracker
from data_pipeline.music.tracked import Tracked
from data_pipeline.records import clip_record, loader

FORM = ClipFormat(num_frames=10, fps=10, frame_size=16)


@pytest.fixture(scope="module", autouse=True)
def no_workers():
  """Builds work in this process unless a test is about the worker processes."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(local_build, "LocalPool", InlinePool)
    yield


def settings(**source):
  """Returns settings of four toy videos, one of them too short."""
  return BuildSettings(
    ToySource(count=4, short=1, **source), FORM, train_windows=Windows("random", 2)
  )


def test_a_data_set_larger_than_memory_has_the_same_shards(
  finished, tmp_path, monkeypatch
):
  monkeypatch.setattr(shuffle, "MAX_MEM_BUFFER_SIZE", 1_000)
  build_locally(settings(), tmp_path / "set", 1)
  shards = sorted((finished[0] / "shards").rglob("*.array_record*"))
  assert len(shards) == 2
  for shard in shards:
    other = tmp_path / "set" / shard.relative_to(finished[0])
    assert other.read_bytes() == shard.read_bytes()
  assert not list((tmp_path / "set").rglob("*.tmp"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  output = tmp_path_factory.mktemp("toy") / "set"
  return output, build_locally(settings(), output, 1)


def test_the_manifest_describes_the_shards(finished):
  output, manifest = finished
  assert manifest == json.loads((output / "manifest.json").read_text())
  assert manifest["counts"]["train"] == {
    "clips": 4,
    "genre": {"BR": 4},
    "camera": {"c01": 4},
    "track": {"": 4},
    "dancer": {"": 4},
  }
  assert manifest["counts"]["test"]["clips"] == 1
  assert manifest["too_short"] == ["toy1"]
  assert manifest["beats"] == ["librosa"]
  assert manifest["settings"]["encoder"] == {
    "name": "spectral",
    "version": 1,
    "size": 512,
  }
  expect = {"fps": 10, "frame_size": 16, "num_frames": 10, "encoder": "spectral"}
  clips = loader.open_clips(output, "train", expect=expect)
  assert sorted(f"{c['name']}.{c['window']}" for c in clips) == sorted(
    manifest["splits"]["train"]
  )
  # Every window has clicks every half second.
  for clip in clips:
    np.testing.assert_allclose(np.diff(clip["beat_times"]), 0.5, atol=0.05)


def test_the_tracker_of_beats_is_part_of_a_data_set(monkeypatch):
  class Ear(LibrosaTracker):
    name = "crnn"

  monkeypatch.setattr(building_settings, "make_tracker", lambda name: Ear())
  made = dataclasses.replace(settings(), beat_tracker="crnn")
  assert "beat_tracker" not in settings().description()
  assert made.description()["beat_tracker"]["name"] == "crnn"
  tags = {key: "" for key in manifests.COUNTED}
  clip = manifests.ClipEntry("train", "toy0.0", "0", tags, ["true_beat_times"])
  survey = made.source.survey()
  manifest = manifests.make_manifest(made.description(), survey, [clip], [])
  assert manifest["beats"] == ["crnn", "truth"]


def test_doubtful_beats_are_noted_in_the_report(tmp_path):
  video = settings().source.survey().videos[0]
  doubtful = Tracked(np.arange(8.0), doubt="Its tempo is not steady.")
  with collect_notes() as notes:
    cut = cut_video(settings(), video, doubtful, tmp_path)
  finding = outcome_of(video.name, cut, notes)
  assert finding.status == "noted" and "toy0: about the beats" in finding.reason
  assert finding.reason.endswith(doubtful.doubt)


def test_a_finished_data_set_is_left_alone(finished):
  output, manifest = finished
  before = {p: p.stat().st_mtime_ns for p in output.rglob("*")}
  assert build_locally(settings(), output, 1) == manifest
  assert before == {p: p.stat().st_mtime_ns for p in output.rglob("*")}


def test_other_settings_in_the_same_folder_are_refused(finished):
  output, _ = finished
  other = dataclasses.replace(settings(), form=ClipFormat(10, 5, 16))
  with pytest.raises(BuildError, match="fps: 10 there, 5 wanted") as error:
    build_locally(other, output, 1)
  assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", ["", "[]", '{"schema_version": 2}'])
def test_a_folder_with_another_manifest_is_refused(tmp_path, content):
  (tmp_path / "manifest.json").write_text(content)
  with pytest.raises(BuildError, match="is not the manifest of a data set"):
    build_locally(settings(), tmp_path, 1)
  assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_a_split_without_any_clip_is_told(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(build, "settings_of", lambda args: settings(bad=3))
  with pytest.raises(SystemExit):
    build.main(["--source=synthdance", "--preset=smoke", f"--output={tmp_path}"])
  assert "note: no video of test became a clip" in capsys.readouterr().out


def test_a_bad_video_costs_a_line_of_the_report(
  tmp_path, finished, monkeypatch, capsys
):
  output = tmp_path / "set"
  manifest = build_locally(settings(bad=2), output, 1)
  assert manifest["report"] == {"broken": 1, "too_short": 1}
  assert manifest["counts"]["train"]["clips"] == 2
  with open(output / "report.csv", newline="") as file:
    head, broken, short = csv.reader(file)
  assert head == ["status", "name", "reason"]
  assert broken[:2] == ["broken", "toy2"] and "toy2.mp4" in broken[2]
  assert short == ["too_short", "toy1", "0.50 s; a clip has 1 s"]
  # The exit status tells a script.
  monkeypatch.setattr(build, "settings_of", lambda args: settings(bad=2))
  with pytest.raises(SystemExit) as stopped:
    build.main(["--source=synthdance", "--preset=smoke", f"--output={output}"])
  assert stopped.value.code == build.BROKEN
  said = capsys.readouterr().out
  assert "report.csv: 1 broken, 1 too_short." in said and "complete already" in said
  assert "train: 1 of 3 videos, 2 clips." in said and "test: 1 videos, 1 clips" in said
  # After the video is repaired, the others are not cut again.
  (output / "manifest.json").unlink()
  kept = {p: p.stat().st_mtime_ns for p in (output / "work" / "clips").iterdir()}
  manifest = build_locally(settings(), output, 1)
  for path, stamp in kept.items():
    assert path.stat().st_mtime_ns == stamp
  assert manifest["content_sha256"] == finished[1]["content_sha256"]


@pytest.mark.slow
def test_a_video_that_crashes_its_process_is_found(tmp_path, monkeypatch):
  monkeypatch.setattr(local_build, "LocalPool", LocalPool)
  output = tmp_path / "set"
  manifest = build_locally(settings(deadly=2), output, 2)
  assert manifest["report"] == {"broken": 1, "too_short": 1}
  assert "toy2: its process died" in (output / "report.csv").read_text()


def test_no_usable_video_is_an_error_with_a_report(tmp_path):
  output = tmp_path / "set"
  short = BuildSettings(ToySource(2, bad=0, short=1), FORM)
  with pytest.raises(BuildError, match="No clip.*1 broken, 1 too_short.*--num_frames"):
    build_locally(short, output, 1)
  with pytest.raises(BuildError, match=r"No clip.*1 broken\); see .*report.csv\.$"):
    build_locally(BuildSettings(ToySource(1, bad=0), FORM), tmp_path / "bad", 1)
  assert "toy0.mp4" in (output / "report.csv").read_text()
  assert not (output / "manifest.json").exists() and not (output / "shards").exists()


def test_two_builds_into_one_folder_are_kept_apart(tmp_path):
  description = settings().description()
  with open_work(tmp_path, description):
    with pytest.raises(LockedError, match=f"written by process {os.getpid()} on"):
      build_locally(settings(), tmp_path, 1)


def test_a_data_set_can_be_built_in_a_remote_folder(
  tmp_path, finished, monkeypatch, capsys
):
  monkeypatch.setenv(files.VARIABLE, str(tmp_path))
  monkeypatch.setattr(build, "settings_of", lambda args: settings())
  command = ["--source=synthdance", "--preset=smoke", "--workers=1"]
  with objects(monkeypatch) as store:
    build.main([*command, "--output=gs://bucket/toy"])
    assert "train: 2 of 3 videos, 4 clips." in capsys.readouterr().out
    names = {name.rpartition("/")[2] for name in store.names()}
    assert {"manifest.json", "report.csv", "silence.json", "features.json"} <= names
    assert not any("work" in name.split("/") for name in store.names())
    assert not any(path.is_file() for path in tmp_path.rglob("*"))
    assert loader.read_manifest("gs://bucket/toy") == finished[1]
    assert len(loader.open_clips("gs://bucket/toy", "train")) == 4
    build.main([*command, "--output=gs://bucket/toy"])
    assert "was complete already" in capsys.readouterr().out
    other = dataclasses.replace(settings(), form=ClipFormat(10, 5, 16))
    monkeypatch.setattr(build, "settings_of", lambda args: other)
    with pytest.raises(SystemExit, match="gs://bucket/toy contains a data set of oth"):
      build.main([*command, "--output=gs://bucket/toy"])
  with pytest.raises(SystemExit):
    build.main([*command, "--output=gs://bucket/toy", "--beam=--runner=DirectRunner"])
  assert "all its workers" in capsys.readouterr().err


def is_alive(pid):
  """Returns whether a process runs; a zombie does not."""
  try:
    os.kill(pid, 0)
  except ProcessLookupError:
    return False
  state = pathlib.Path(f"/proc/{pid}/stat")
  return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize(
  "ending", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGKILL]
)
def test_a_stopped_build_leaves_no_worker_and_resumes(tmp_path, finished, ending):
  log, output = tmp_path / "log", tmp_path / "set"
  log.mkdir()
  program = (
    "import pathlib, signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "from test_build import build_locally, settings\n"
    f"try: build_locally(settings(log={str(log)!r}), pathlib.Path({str(output)!r}), 1)"
    "\nexcept KeyboardInterrupt: raise SystemExit('stopped')"
  )
  paths = sys.path
  environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in paths if p)}
  process = subprocess.Popen(
    [sys.executable, "-c", program],
    env=environment,
    stderr=subprocess.PIPE,
    text=True,
    start_new_session=True,
  )
  # Written after all clips of the video, which are cut again without it.
  note = output / "work" / "clips" / "toy0.json"
  while not note.exists():
    assert process.poll() is None, "the build ended before it could be killed"
    time.sleep(0.02)
  if ending == signal.SIGINT:  # Ctrl-C reaches the workers as well
    os.killpg(process.pid, ending)
    _, errors = process.communicate()
    assert errors.endswith("stopped\n") and "Traceback" not in errors
  else:
    process.send_signal(ending)
    process.communicate()
  assert not (output / "manifest.json").exists()
  pids = {int(path.suffix[1:]) for path in log.iterdir()}
  deadline = time.monotonic() + 60
  while any(is_alive(pid) for pid in pids):
    assert time.monotonic() < deadline, "a worker outlived its parent"
    time.sleep(0.05)
  clips = [note.with_name(f"toy0.{window}.npz") for window in range(2)]
  kept = [path.stat().st_mtime_ns for path in clips]
  manifest = build_locally(settings(log=str(log)), output, 1)
  assert [path.stat().st_mtime_ns for path in clips] == kept
  assert manifest["content_sha256"] == finished[1]["content_sha256"]
  assert [p.name for p in output.iterdir() if "unfinished" in p.name] == []


def test_features_of_unfinished_work_survive_the_disk(tmp_path):
  features = clip_record.encode(make_record()) | {"digest": "0a1b"}
  save_features(tmp_path / "a.npz", features)
  assert_same(load_features(tmp_path / "a.npz"), features)
  assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]
