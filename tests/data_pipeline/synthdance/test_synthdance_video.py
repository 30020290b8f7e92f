"""Generated videos are reproducible, framed as documented, and match their truth."""

import dataclasses
import hashlib

import numpy as np
import pytest

from data_pipeline.aist import CAMERAS, ClipName
from data_pipeline.media import framing
from data_pipeline.records.body_parts import PARTS, body_motion
from data_pipeline.synthdance.body import dancer
from data_pipeline.synthdance.generate import make_clip
from data_pipeline.synthdance.studio import background, make_camera
from data_pipeline.synthdance.truth import Truth

# sha256 of one second of frames, part maps and part poses. An intended change of the
# picture changes them; put the new ones here and say so in the commit.
GOLDEN = {
  ("gBR_sBM_c01_d04_mBR0_ch03", "close"): "d418f3f24a1a",
  ("gWA_sFM_c09_d26_mWA4_ch05", "close"): "de3d78e762fe",
  ("gJB_sFM_c04_d08_mJB2_ch02", "aist"): "6a8e80129f8d",
}


@pytest.fixture(scope="module")
def clip():
  name = ClipName.parse("gLO_sFM_c01_d13_mLO1_ch01")
  return make_clip(name, seconds=4, start_seconds=2.3)


@pytest.mark.parametrize(("name", "framing"), GOLDEN)
def test_frames_are_the_same_on_every_machine(name, framing):
  clip = make_clip(ClipName.parse(name), framing=framing, seconds=1, start_seconds=1)
  digest = hashlib.sha256(clip.frames.tobytes())
  digest.update(clip.truth.part_map.tobytes())
  digest.update(clip.truth.part_pose.astype("<f4").tobytes())
  assert digest.hexdigest()[:12] == GOLDEN[name, framing]


def test_the_dancer_fills_four_fifths_of_a_close_picture():
  name = ClipName.parse("gPO_sBM_c01_d10_mPO1_ch02")
  part_map = make_clip(name, seconds=0.1).truth.part_map[0]
  rows = np.flatnonzero(part_map.any(axis=1))
  assert 0.75 < len(rows) / 128 < 0.85


def test_hands_stay_in_a_close_picture():
  inside = []
  for name in ("gWA_sBM_c01_d25_mWA1_ch01", "gJS_sFM_c02_d02_mJS2_ch05"):
    wrists = make_clip(ClipName.parse(name), seconds=7).truth.joints2d[:, 9:11]
    inside.append(((wrists > 0) & (wrists < 127)).all(-1).mean())
  assert min(inside) > 0.97, inside


def test_the_stage_in_a_letterbox_looks_like_aist():
  name = ClipName.parse("gHO_sBM_c01_d19_mHO0_ch01")
  clip = make_clip(name, framing="aist", seconds=0.2)
  assert clip.frames.shape[1:] == (144, 256, 3)
  frames, transform = framing.letterbox(clip.frames, 128)
  filled = np.flatnonzero(frames[0].max(axis=(1, 2)) > 8)
  assert (filled[0], filled[-1]) == (28, 99)
  truth = clip.truth.transformed(transform, 128)
  rows = np.flatnonzero(truth.part_map[0].any(axis=1))
  assert 27 <= len(rows) <= 36  # head to sole; about 33 in AIST
  assert 180 < frames[0, 28:100].mean() < 235


def test_every_camera_sees_the_dancer_and_c05_from_behind():
  skin, face = dancer("d16").skin, []
  for camera in CAMERAS:
    name = ClipName("LH", "sBM", camera, "d16", "mLH0", "ch01")
    clip = make_clip(name, seconds=0.1)
    assert (clip.truth.part_map > 0).mean() > 0.05
    head = clip.frames[0][clip.truth.part_map[0] == 1 + PARTS.index("head")]
    ratio = head[:, 0] / np.maximum(head[:, 2].astype(float), 1)
    face.append((np.abs(ratio - skin[0] / skin[2]) < 0.15).mean())
  assert face[0] > 0.55 > 0.35 > face[4], face


def test_cameras_and_the_stage_do_not_move(clip):
  still = (clip.truth.part_map == 0).all(axis=0)[:40]  # above the shadows
  assert still.mean() > 0.3
  change = np.ptp(clip.frames[:, :40][:, still].astype(int), axis=0)
  # The few pixels at the edge of the body change.
  assert (change > 0).mean() < 0.1


def test_joints_lie_on_the_body(clip):
  truth = clip.truth
  on_body = 0
  for part_map, joints in zip(truth.part_map, truth.joints2d, strict=True):
    x, y = np.clip(np.round(joints[5:]).astype(int), 0, 127).T
    on_body += (part_map[y, x] > 0).mean()
  assert on_body / len(truth.part_map) > 0.97


def test_each_part_is_where_its_pose_says(clip):
  truth = clip.truth
  for part in ("left_thigh", "right_forearm", "head"):
    index = PARTS.index(part)
    y, x = np.nonzero(truth.part_map[0] == index + 1)
    x0, y0, r0, x1, y1, r1 = truth.part_pose[0, index]
    axis = np.array([x1 - x0, y1 - y0])
    along = np.clip(((x - x0) * axis[0] + (y - y0) * axis[1]) / (axis @ axis), 0, 1)
    distance = np.hypot(x - x0 - along * axis[0], y - y0 - along * axis[1])
    assert len(x) and (distance <= r0 + along * (r1 - r0) + 0.02).all(), part


def _bilinear(image, x, y):
  x, y = np.clip(x, 0, 126.999), np.clip(y, 0, 126.999)
  i, j = x.astype(int), y.astype(int)
  a, b = (x - i)[:, None], (y - j)[:, None]
  top = image[j, i] * (1 - a) + image[j, i + 1] * a
  bottom = image[j + 1, i] * (1 - a) + image[j + 1, i + 1] * a
  return top * (1 - b) + bottom * b


@pytest.mark.parametrize("gap", [1, 4, -10])
def test_body_motion_leads_back_to_the_same_colour(clip, gap):
  frames, truth = clip.frames.astype(np.float32), clip.truth
  warped, unmoved = [], []
  for to in range(11, 30, 6):
    source = to - gap
    motion = body_motion(
      truth.part_map[to], truth.part_pose[to], truth.part_pose[source]
    )
    y, x = np.nonzero(truth.part_map[to])
    assert (motion[truth.part_map[to] == 0] == 0).all()
    colours = _bilinear(frames[source], x + motion[y, x, 0], y + motion[y, x, 1])
    warped.append(np.abs(colours - frames[to][y, x]).mean())
    unmoved.append(np.abs(frames[source][y, x] - frames[to][y, x]).mean())
  assert np.mean(warped) < 0.35 * np.mean(unmoved), (warped, unmoved)


def test_the_truth_follows_the_frames_through_a_crop(clip):
  _, transform = framing.crop_square(clip.frames, 64)
  truth = clip.truth.transformed(transform, 64)
  assert truth.part_map.shape[1:] == (64, 64)
  np.testing.assert_allclose(
    truth.joints2d, (clip.truth.joints2d + 0.5) / 2 - 0.5, atol=1e-4
  )
  np.testing.assert_allclose(truth.part_pose[..., 2], clip.truth.part_pose[..., 2] / 2)
  small = (truth.part_map > 0).mean()
  assert small == pytest.approx((clip.truth.part_map > 0).mean(), rel=0.05)


def test_the_truth_of_some_frames_is_that_of_these_frames(clip):
  truth = clip.truth.take(np.array([3, 5]))
  for key in ("joints2d", "joints3d", "part_map", "part_pose"):
    expected = getattr(clip.truth, key)[[3, 5]]
    np.testing.assert_array_equal(getattr(truth, key), expected)
  np.testing.assert_array_equal(truth.beats, clip.truth.beats)


def test_the_truth_survives_the_disk(clip, tmp_path):
  clip.truth.save(tmp_path / "a.npz")
  loaded = Truth.load(tmp_path / "a.npz")
  for field in dataclasses.fields(Truth):
    np.testing.assert_array_equal(
      getattr(loaded, field.name), getattr(clip.truth, field.name)
    )
  assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]


@pytest.mark.parametrize("content", [b"", b"not an archive"])
def test_a_file_that_is_not_a_truth_is_refused_in_one_line(tmp_path, content):
  path = tmp_path / "bad.npz"
  path.write_bytes(content)
  with pytest.raises(ValueError, match="not the truth of a generated video"):
    Truth.load(path)


def test_videos_differ_in_light_but_not_much():
  corner = [
    make_clip(ClipName.parse(f"gMH_sBM_c01_d22_mMH{i}_ch01"), seconds=0.1)
    .frames[0, :8, :8]
    .mean()
    for i in range(6)
  ]
  assert 3 < np.ptp(corner) < 40


def test_the_cached_stage_is_read_only():
  with pytest.raises(ValueError, match="read-only"):
    background(make_camera("c01", "close", 168.0))[0, 0] = 0
