"""Records survive their encoding bit for bit."""

import zlib

import numpy as np
import pytest
from clip_examples import assert_same, make_record

from data_pipeline.records import clip_record


@pytest.mark.parametrize("shape", [(1, 4, 4, 3), (7, 5, 3, 3), (9, 8, 8)])
def test_the_encoding_of_video_is_lossless(shape):
  frames = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
  before = frames.copy()
  np.testing.assert_array_equal(
    clip_record.decode_video(clip_record.encode_video(frames)), before
  )
  np.testing.assert_array_equal(frames, before)


def test_the_encoding_of_a_static_scene_can_be_compressed():
  frame = np.random.default_rng(1).integers(0, 256, (1, 16, 16, 3), np.uint8)
  still = np.repeat(frame, 40, axis=0)
  assert len(zlib.compress(clip_record.encode_video(still))) < 2 * frame.size


@pytest.mark.parametrize("code", [b"", b"\x04abc", b"\x01\x04\x00\x00\x00no"])
def test_broken_frames_are_refused(code):
  with pytest.raises(clip_record.RecordError, match="cannot be decoded"):
    clip_record.decode_video(np.frombuffer(code, np.uint8))


@pytest.mark.parametrize("truth", [True, False])
def test_a_record_survives_the_round_trip(truth):
  record = make_record(truth=truth)
  assert_same(clip_record.decode(clip_record.encode(record)), record)


def test_only_the_fields_asked_for_are_decoded():
  features = clip_record.encode(make_record())
  assert clip_record.decode(features, ("music", "fps")).keys() == {"music", "fps"}


def test_incomplete_truth_is_refused():
  record = make_record()
  del record["joints3d"]
  with pytest.raises(clip_record.RecordError, match="joints3d"):
    clip_record.encode(record)


def test_another_schema_names_both_versions():
  features = clip_record.encode(make_record()) | {"schema_version": 77}
  with pytest.raises(clip_record.RecordError, match="77.*reads 2.*build"):
    clip_record.decode(features)


def test_the_digest_depends_on_frames_sound_beats_and_truth():
  record = make_record()
  digest = clip_record.content_digest(record)
  assert clip_record.content_digest(record | {"music": record["music"] + 1}) == digest
  for key in ("frames", "audio", "beat_times", *clip_record.TRUTH):
    changed = record[key].copy()
    changed.flat[0] += 1
    assert clip_record.content_digest(record | {key: changed}) != digest
