"""Frame 0 counts only if asked for, and a group is measured by its own clips."""

import dataclasses

import clip_folders
import numpy as np
import pytest
from evaluations import evaluate_folders

from dabfusion_jax.evaluation.reading import clips, features
from dabfusion_jax.evaluation.reading.cache import FeatureCache
from dabfusion_jax.evaluation.reading.changes import Change
from dabfusion_jax.evaluation.reading.clip_sets import open_clip_set
from dabfusion_jax.evaluation.reading.labels import parse_labels
from dabfusion_jax.evaluation.reading.networks import Networks
from dabfusion_jax.evaluation.scoring import aggregate, paired, scores
from dabfusion_jax.evaluation.scoring.events import collect_events
from dabfusion_jax.metrics import image
from dabfusion_jax.metrics.alignment import Score
from data_pipeline.music.onsets import LATE_SECONDS


@pytest.fixture
def folders(tmp_path):
  clip_folders.write_folder(tmp_path / "real", 2)
  clip_folders.write_folder(tmp_path / "noisy", 2, noise=20, truth=False)
  return tmp_path


def test_frame_0_counts_only_if_asked_for(folders, monkeypatch):
  monkeypatch.setattr(
    paired.lpips,
    "clip_lpips",
    lambda variables, network, a, b: np.arange(5.0, 5 + len(a)),
  )
  monkeypatch.setattr(Networks, "__getitem__", lambda self, name: {})
  networks = Networks({"alex": "fake"}, {})
  spoil = lambda frames: np.concatenate([255 - frames[:1], frames[1:] - np.uint8(1)])
  spoiled = lambda clip: dataclasses.replace(clip, frames=spoil(clip.frames))
  read = lambda part, name: np.load(folders / part / f"{name}.npz")["frames"]
  for include_first in (False, True, False):  # the last from the cache
    _, measured = evaluate_folders(
      folders / "noisy",
      folders / "real",
      folders / "cache",
      ("paired", "lpips"),
      networks,
      stage1=Change("stage1", "spoiled", spoiled),
      include_first=include_first,
    )
    for name, found in zip(measured.names, measured.scores["sample"], strict=True):
      noisy, real = read("noisy", name), read("real", name)
      wanted = image.paired_scores(noisy, real, include_first=include_first)
      for key in ("psnr", "psnr_pooled", "ssim"):
        assert found[key].value == pytest.approx(wanted[key], rel=1e-6)
      wanted = image.paired_scores(spoil(real), real, include_first=include_first)
      assert found["stage1_psnr"].value == pytest.approx(wanted["psnr"], rel=1e-6)
      # 5 is frame 0, and there are 24.
      assert found["lpips_alex"].value == (16.5 if include_first else 17.0)


def test_fvd_of_a_camera_has_the_real_clips_of_that_camera(tmp_path, monkeypatch):
  brightness = lambda variables, videos, resize: np.tile(
    videos[:, :, ::8, ::8].mean((2, 3, 4))[:, :20], 20
  ).astype(np.float32)
  monkeypatch.setattr(features.i3d, "i3d_logits", brightness)
  monkeypatch.setattr(Networks, "__getitem__", lambda self, name: {})
  for camera in (1, 2):
    for i in range(4):
      name = clip_folders.name_of(i, camera)
      frames = clip_folders.make_frames(i) // np.uint8(camera)
      for part in ("real", "same"):
        (tmp_path / part).mkdir(exist_ok=True)
        arrays = {"frames": frames, "fps": 10}
        clips.write_arrays(tmp_path / part / f"{name}.npz", arrays)
  networks = Networks({"i3d": "fake"}, {})
  summary = evaluate_folders(
    tmp_path / "same", tmp_path / "real", tmp_path / "cache", ("fvd",), networks
  )[0]["summary"]
  for camera in ("c01", "c02"):
    row = summary[f"camera={camera}"]["fvd"]
    assert row["n"] == row["n_real"] == 4
    assert row["value"] == pytest.approx(0, abs=1e-4)


def test_the_noise_of_a_random_null_counts():
  scores = lambda *values: [Score(value) for value in values]
  gap = aggregate.difference(scores(1.0, 1.1, 0.9), scores(0.0, 0.0, 0.0), "abc")
  assert "larger than its noise" in aggregate.in_words(gap, "its null", "higher", 0.01)
  assert "within its noise" in aggregate.in_words(gap, "its null", "higher", 1.0)


@pytest.mark.parametrize("last", [0.5, 0.6])
def test_the_same_beats_without_sound_are_one_track(tmp_path, last):
  for i in range(4):
    period = last if i > 1 else 0.5
    arrays = {"frames": clip_folders.make_frames(i), "fps": 10}
    arrays["beat_times"] = np.arange(0, 2.5, period)
    (tmp_path / "clips").mkdir(exist_ok=True)
    clips.write_arrays(tmp_path / "clips" / f"{'abcd'[i]}.npz", arrays)
  folders = [tmp_path / name for name in ("clips", "clips", "cache")]
  summary = evaluate_folders(*folders, ("alignment",))[0]["summary"]
  nulls = summary["all"]["beat_alignment"]["nulls"]
  assert ("shuffled" in nulls) == (last != 0.5)


def test_beats_of_the_real_clip_are_on_the_time_line_of_the_chained_one(tmp_path):
  real = {"frames": clip_folders.make_frames(0), "fps": 10}
  for folder, more in (("ours", {}), ("real", {"beat_times": np.array([0.5, 1.5])})):
    (tmp_path / folder).mkdir()
    clips.write_arrays(tmp_path / folder / "a.npz", real | more)
  ours, whole = features.Reading(segment_frames=8), features.Reading()
  sets = (("ours", "samples", ours), ("real", "references", whole))
  cache = FeatureCache(tmp_path / "cache")
  pair = [
    open_clip_set(tmp_path / folder, part, reading, cache).features["a"]
    for folder, part, reading in sets
  ]
  beats = collect_events(*pair, parse_labels("a"), Networks({}, {})).beats
  assert np.diff(beats) == pytest.approx(0.9)  # that of a frame in between is left out
  alone = collect_events(pair[1], None, parse_labels("a"), Networks({}, {})).beats
  assert np.diff(alone) == pytest.approx(1.0)


def test_beats_of_a_network_are_in_time_whatever_is_subtracted_from_those_of_librosa(
  tmp_path,
):
  times = np.array([0.5, 1.0, 1.5])
  found = {}
  for tracker in ("librosa", "crnn"):
    arrays = {"frames": clip_folders.make_frames(0), "fps": 10, "beat_times": times}
    arrays["beat_tracker"] = np.asarray(tracker)
    (tmp_path / tracker).mkdir()
    clips.write_arrays(tmp_path / tracker / "a.npz", arrays)
    cache = FeatureCache(tmp_path / "cache")
    folder = open_clip_set(
      tmp_path / tracker, "references", features.Reading(), cache
    ).features
    for late in (0.0, 0.05):
      events = collect_events(
        folder["a"], None, parse_labels("a"), Networks({}, {}), late
      )
      found[tracker, late] = events.beats - times
      assert events.source == "tracked in song" + " by crnn" * (tracker == "crnn")
  for (tracker, late), shift in found.items():
    expected = 0.0 if tracker == "crnn" else LATE_SECONDS - late
    np.testing.assert_allclose(shift, expected, atol=1e-9)


def _joint_score(joints):
  """Returns the score of true joints with beats at each second."""
  none = np.zeros(0)
  motion = scores.Motion(fps=10.0, speed=none, jitter=none, joints2d=joints)
  return scores.beat_scores(motion, np.arange(5.0))["beat_alignment_joints"]


def test_a_dance_that_nobody_has_annotated_has_no_beats_rather_than_none_on_the_music():
  rng = np.random.default_rng(0)
  joints = np.cumsum(rng.normal(size=(40, 17, 2)), axis=0).astype(np.float32)
  unknown = joints.copy()
  unknown[:, 9] = np.nan  # the left wrist, never found
  assert _joint_score(np.full_like(joints, np.nan)) == Score(None, "pose_missing")
  without = _joint_score(unknown)
  assert without.value > 0 and without != _joint_score(joints)
  unknown[:, 9] = 0  # what is not known does not count, whatever is there
  unknown[7, 9] = np.nan
  assert _joint_score(unknown).value > 0


def test_poses_that_are_not_asked_for_are_not_said_to_be_missing(tmp_path):
  clip_folders.write_folder(tmp_path / "clips", 1)
  for groups, reason in (
    (("alignment",), "not_asked"),
    (("alignment", "pose"), "no_pose_estimator"),
  ):
    folders = [tmp_path / name for name in ("clips", "clips", "cache")]
    _, measured = evaluate_folders(*folders, groups)
    assert measured.column("sample", "mm_align")[0].reason == reason
