"""Poses: files of any estimator, the geometry of BlazePose, and BlazePose itself."""

import dataclasses
import math
import pickle

import numpy as np
import pytest

from dabfusion_jax.evaluation.reading import blazepose, clip_files, clips, poses
from dabfusion_jax.evaluation.reading.cache import FeatureCache
from dabfusion_jax.evaluation.reading.changes import FROZEN
from dabfusion_jax.evaluation.reading.features import ClipFeatures, Reading
from dabfusion_jax.evaluation.scoring import scores
from dabfusion_jax.metrics import alignment
from dabfusion_jax.metrics.motion import joint_speed, kinematic_beats
from dabfusion_jax.pretrained import store


def _write(folder, name, confidence, joints=poses.JOINTS, num_frames=6):
  rng = np.random.default_rng(0)
  values = rng.random((num_frames, len(joints), 3)) * 30
  values[..., 2] = confidence
  path = folder / f"{name}.npz"
  path.parent.mkdir(parents=True, exist_ok=True)
  np.savez(path, poses=values, joints=np.array(joints))
  return values


def test_pose_files_may_hold_more_joints_in_any_order(tmp_path):
  joints = ("left_ear", *reversed(poses.JOINTS))
  values = _write(tmp_path, "samples/a", 0.9, joints)
  found, visible = poses.PoseFiles(tmp_path)(
    "samples/a", lambda: np.zeros((6, 8, 8, 3))
  )
  np.testing.assert_array_equal(found, values[:, :0:-1, :2])
  assert visible.all()


def test_doubtful_and_missing_poses_are_masked(tmp_path):
  values = _write(tmp_path, "samples/a", 0.9)
  values[2, :, 2], values[3, 0, :2] = 0.2, np.nan
  np.savez(tmp_path / "samples" / "a.npz", poses=values, joints=np.array(poses.JOINTS))
  source = poses.PoseFiles(tmp_path)
  found, visible = source("samples/a", lambda: np.zeros((6, 8, 8, 3)))
  assert not visible[2].any() and not visible[3, 0] and visible[3, 1:].all()
  assert np.isfinite(found).all()
  _, absent = source("samples/b", lambda: np.zeros((6, 8, 8, 3)))
  assert absent.shape == (6, 13) and not absent.any()
  score = alignment.mm_align(found, absent, np.array([0.1]), 10)
  assert score == (None, "pose_missing")


def test_results_name_the_tools_that_found_the_poses(tmp_path):
  values = _write(tmp_path / "plain", "samples/a", 0.9)
  assert poses.PoseFiles(tmp_path / "plain").describe("")["estimator"] == "files"
  joints = np.array(poses.JOINTS)
  (tmp_path / "named" / "samples").mkdir(parents=True)
  for name in ("a", "b"):
    path = tmp_path / "named" / "samples" / f"{name}.npz"
    np.savez(path, poses=values, joints=joints, estimator="OpenPose 1.7")
  named = poses.PoseFiles(tmp_path / "plain", tmp_path / "named")
  assert named.describe("")["estimator"] == "files OpenPose 1.7"


def test_a_pose_file_without_the_joints_is_refused(tmp_path):
  _write(tmp_path, "samples/a", 0.9, poses.JOINTS[:5])
  with pytest.raises(ValueError, match=r"lacks \['left_wrist'"):
    poses.PoseFiles(tmp_path)("samples/a", lambda: np.zeros((6, 8, 8, 3)))
  _write(tmp_path, "samples/b", 0.9, num_frames=3)
  with pytest.raises(ValueError, match="3 poses for 6 frames"):
    poses.PoseFiles(tmp_path)("samples/b", lambda: np.zeros((6, 8, 8, 3)))


def test_a_pose_file_that_cannot_be_read_is_named(tmp_path):
  for name, content in (
    ("cut", b"PK\x03\x04 and no more"),
    ("empty", b""),
    ("pickle", pickle.dumps(1)),
  ):
    folder = tmp_path / name
    (folder / "samples").mkdir(parents=True)
    (folder / "samples" / "a.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.npz is not a readable npz file"):
      poses.PoseFiles(folder)
  np.save(tmp_path / "array.npy", np.zeros(3))
  (tmp_path / "array" / "samples").mkdir(parents=True)
  (tmp_path / "array.npy").rename(tmp_path / "array" / "samples" / "a.npz")
  with pytest.raises(ValueError, match=r"a\.npz is not a readable npz file"):
    poses.PoseFiles(tmp_path / "array")
  folder = tmp_path / "half"
  (folder / "samples").mkdir(parents=True)
  np.savez(folder / "samples" / "a.npz", joints=np.array(poses.JOINTS))
  with pytest.raises(ValueError, match="must hold `poses` and `joints`"):
    poses.PoseFiles(folder)("samples/a", lambda: np.zeros((2, 8, 8, 3), np.uint8))


def test_generated_and_real_clips_of_one_name_have_poses_of_their_own(tmp_path):
  frames = np.zeros((6, 16, 16, 3), np.uint8)
  for part, y in (("samples", 3.0), ("references", 7.0)):
    values = _write(tmp_path / "poses", f"{part}/a", 0.9)
    values[..., :2] = y
    np.savez(tmp_path / "poses" / part / "a.npz", poses=values, joints=poses.JOINTS)
    (tmp_path / part).mkdir()
    clips.write_arrays(tmp_path / part / "a.npz", {"frames": frames, "fps": 10})
  source = poses.PoseFiles(tmp_path / "poses")
  found = {}
  for part in ("samples", "references"):
    (file,) = clip_files.find_clips(tmp_path / part, part).values()
    cache = FeatureCache(tmp_path / "cache")
    clip = ClipFeatures.of_file(file, Reading(), cache)
    found[part], _ = clip.pose(source)
    _, visible = clip.changed(FROZEN).pose(source)
    assert not visible.any()
  assert (found["samples"] == 3).all() and (found["references"] == 7).all()
  with pytest.raises(ValueError, match="there is neither"):
    poses.PoseFiles(tmp_path / "poses" / "samples")


def test_poses_that_pause_on_the_beat_score_high_and_half_a_beat_later_low():
  times = np.arange(40) / 10
  x = np.cumsum(1.2 + np.cos(2 * np.pi * times / 0.8 - np.pi))
  joints = np.repeat(np.stack([x, x], axis=-1)[:, None], 13, axis=1)
  visible = np.ones((40, 13), bool)
  motion = scores.Motion(10.0, np.ones(39), np.ones(38), poses=(joints, visible))
  pauses = kinematic_beats(joint_speed(joints, visible), 10)
  beats = np.arange(-1, 7) * 0.8 + pauses[0] % 0.8
  mm_align = lambda motion, beats: scores.beat_scores(motion, beats)["mm_align"].value
  assert mm_align(motion, beats) > 0.8
  assert mm_align(motion, beats + 0.4) < 0.05
  late = dataclasses.replace(motion, poses_late_seconds=0.2)
  assert mm_align(late, beats) < 0.2
  assert mm_align(late, beats - 0.2) > 0.8 > mm_align(late, beats + 0.2)


def test_a_square_is_upright_for_a_standing_person_and_turns_with_a_lying_one():
  hips = np.array([50.0, 60.0])
  standing = blazepose.square_around(hips, hips + [0, -20])
  assert standing.angle == pytest.approx(0) and standing.side == 50
  lying = blazepose.square_around(hips, hips + [20, 0])
  assert lying.angle == pytest.approx(math.pi / 2)
  matrix = lying.to_picture(256)
  np.testing.assert_allclose(matrix @ [128, 128, 1], hips)
  # The upper edge of the square is where the head of the person is.
  np.testing.assert_allclose(matrix @ [128, 0, 1], hips + [25, 0])


def _person():
  """A plain figure, as good as a drawing of circles and bars can be."""
  import cv2

  picture = np.full((128, 128, 3), 215, np.uint8)
  skin, shirt, trousers = (205, 160, 130), (40, 70, 150), (50, 45, 60)
  line = lambda a, b, colour, width: cv2.line(picture, a, b, colour, width, cv2.LINE_AA)
  line((58, 68), (56, 104), trousers, 9)
  line((70, 68), (72, 104), trousers, 9)
  cv2.ellipse(picture, (64, 52), (12, 19), 0, 0, 360, shirt, -1, cv2.LINE_AA)
  line((54, 40), (42, 62), shirt, 6)
  line((74, 40), (86, 62), shirt, 6)
  line((42, 62), (40, 72), skin, 5)
  line((86, 62), (88, 72), skin, 5)
  cv2.circle(picture, (64, 25), 8, skin, -1, cv2.LINE_AA)
  cv2.ellipse(picture, (64, 20), (8, 5), 0, 180, 360, (40, 25, 20), -1, cv2.LINE_AA)
  return picture


def test_without_weights_their_import_is_named(monkeypatch, tmp_path):
  monkeypatch.setenv("DABFUSION_WEIGHTS", str(tmp_path))
  with pytest.raises(store.MissingWeightsError, match="weights import blazepose"):
    blazepose.BlazePose()


def test_blazepose_finds_a_person_and_nobody_in_an_empty_room():
  try:
    source = blazepose.BlazePose()
  except store.MissingWeightsError as error:
    pytest.skip(str(error))
  person = _person()
  video = np.stack([person, np.full_like(person, 215), np.roll(person, 12, axis=1)])
  joints, visible = source("samples/a", lambda: video)
  assert not visible[1].any() and (joints[1] == 0).all()
  assert visible[0].sum() >= 8 and visible[2].sum() >= 8
  index = {name: i for i, name in enumerate(poses.JOINTS)}
  nose, ankle = joints[0, index["nose"]], joints[0, index["left_ankle"]]
  assert np.hypot(*(nose - [64, 26])) < 8 and ankle[1] > 80
  both = visible[0] & visible[2]
  shift = np.median((joints[2] - joints[0])[both], axis=0)
  np.testing.assert_allclose(shift, [12, 0], atol=2.5)
