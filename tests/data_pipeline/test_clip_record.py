"""Records survive storage bit for bit."""

import numpy as np
import pytest

from data_pipeline import clip_record


def make_record(seed=0, truth=True, num_frames=6, size=16):
  rng = np.random.default_rng(seed)
  record = {
    "name": f"clip{seed}",
    "window": 0,
    "genre": "BR",
    "track": "mBR0",
    "dancer": "",
    "camera": "c01",
    "start_seconds": 0.25,
    "fps": 10.0,
    "frames": rng.integers(0, 256, (num_frames, size, size, 3), np.uint8),
    "audio": rng.integers(-900, 900, 500).astype(np.int16),
    "sample_rate": 22050,
    "music": rng.standard_normal(8).astype(np.float32),
    "beat_times": np.arange(seed % 3 + 1) * 0.5 - 0.1,
  }
  if truth:
    record |= {
      "true_beat_times": np.arange(2) * 0.5,
      "joints2d": rng.random((num_frames, 17, 2), np.float32),
      "joints3d": rng.random((num_frames, 17, 3), np.float32),
      "part_map": rng.integers(0, 20, (num_frames, size, size), np.uint8),
      "part_pose": rng.random((num_frames, 5, 6), np.float32),
    }
  return record


def assert_same(actual, expected):
  assert actual.keys() == expected.keys()
  for key, value in expected.items():
    np.testing.assert_array_equal(actual[key], value, err_msg=key)
    assert type(actual[key]) is type(value), key
    assert getattr(actual[key], "dtype", None) == getattr(value, "dtype", None), key


@pytest.mark.parametrize("shape", [(1, 4, 4, 3), (7, 5, 3, 3), (9, 8, 8)])
def test_video_code_is_lossless(shape):
  frames = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
  before = frames.copy()
  np.testing.assert_array_equal(
    clip_record.decode_video(clip_record.encode_video(frames)), before
  )
  np.testing.assert_array_equal(frames, before)


def test_a_static_scene_costs_little():
  frame = np.random.default_rng(1).integers(0, 256, (1, 16, 16, 3), np.uint8)
  still = np.repeat(frame, 40, axis=0)
  assert len(clip_record.encode_video(still)) < 2 * frame.size


@pytest.mark.parametrize("code", [b"", b"\x04abc", b"\x01\x04\x00\x00\x00no"])
def test_broken_frames_are_refused(code):
  with pytest.raises(clip_record.RecordError, match="cannot be decoded"):
    clip_record.decode_video(np.frombuffer(code, np.uint8))


@pytest.mark.parametrize("truth", [True, False])
def test_record_round_trips(truth):
  record = make_record(truth=truth)
  assert_same(clip_record.decode(clip_record.encode(record)), record)


def test_only_the_fields_asked_for_are_decoded():
  features = clip_record.encode(make_record())
  assert clip_record.decode(features, ("music", "fps")).keys() == {"music", "fps"}


def test_half_a_truth_is_refused():
  record = make_record()
  del record["joints3d"]
  with pytest.raises(clip_record.RecordError, match="joints3d"):
    clip_record.encode(record)


def test_another_schema_names_both_versions():
  features = clip_record.encode(make_record()) | {"schema_version": 77}
  with pytest.raises(clip_record.RecordError, match="77.*reads 1.*build"):
    clip_record.decode(features)
