"""Defines the clip record: what one example of a data set contains, how it is stored.

All sources share one schema. `encode` turns a record into the plain features that the
TFDS builder writes; `decode` turns them back into a record and unpacks only what is
asked for. Frames are stored without loss.

A record is a dict with these keys (t frames, h = w pixels, d embedding, s samples):

  name            str, of the video; unique in a data set together with `window`
  window          int, index of the window in its video
  genre, track, dancer, camera   str, empty if unknown
  start_seconds   float, position in the video at which the window begins
  fps             float
  frames          uint8 [t h w 3]
  audio           int16 [s], mono, of the same window
  sample_rate     int, of the audio
  music           float32 [d], the encoder's embedding of the audio, unit norm
  beat_times      float64 [n], tracked beats, in seconds from the window's start, with
                  one beat beyond either edge

annotated videos also have (NaN if unknown), and generated videos always have:

  joints2d        float32 [t 17 2], (x, y) in pixels of the frames, COCO order
  joints3d        float32 [t 17 3], cm

and only generated videos have:

  true_beat_times float64 [n], as above
  part_map        uint8 [t h w], 0 = background, 1 + p = body part p
  part_pose       float32 [t p 6], (x0, y0, r0, x1, y1, r1) of each part
  surfaces        uint8 [n], of people: `records.surfaces.Surfaces`, encoded
"""

import hashlib
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from jaxtyping import UInt8

from data_pipeline.errors import UserError

Record = dict[str, Any]  # with the keys of the table above

SCHEMA_VERSION = 2  # version 1 packed frames with zlib

TEXTS = ("name", "genre", "track", "dancer", "camera")
INTEGERS = ("window", "sample_rate")
FLOATS = ("start_seconds", "fps")
CODED = ("frames", "part_map")  # by `encode_video`
ARRAYS = {  # of variable length
  "audio": np.int16,
  "beat_times": np.float64,
  "true_beat_times": np.float64,
  "surfaces": np.uint8,
}
FIXED_ARRAYS = {  # of the same shape in all records of a data set
  "music": np.float32,
  "joints2d": np.float32,
  "joints3d": np.float32,
  "part_pose": np.float32,
}
JOINTS = ("joints2d", "joints3d")
# Kinds of beats, and the keys that hold their times. A data set has one tracker.
BEATS = {
  "librosa": "beat_times",
  "crnn": "beat_times",
  "truth": "true_beat_times",
}
OPTIONAL = ("surfaces",)  # what only some generated videos have
TRUTH = ("true_beat_times", *JOINTS, "part_map", "part_pose")


class RecordError(UserError):
  """A record or data set other than expected: both values, and what to do about it."""


def encode_video(frames: UInt8[np.ndarray, "t ..."]) -> UInt8[np.ndarray, "n"]:
  """Encodes frames without loss as differences in time, modulo 256.

  With a fixed camera most of them are zero. The shards compress them (ArrayRecord's
  zstd), which is several times faster to read than zlib: `python -m benchmarks.loader`.
  """
  change = frames.copy()
  change[1:] -= frames[:-1]
  shape = np.asarray(frames.shape, "<u4")
  header = bytes([len(shape)]) + shape.tobytes()
  return np.frombuffer(header + change.tobytes(), np.uint8)


def decode_video(code: UInt8[np.ndarray, "n"]) -> UInt8[np.ndarray, "t ..."]:
  """Decodes what `encode_video` made; raises RecordError for anything else."""
  data = memoryview(np.ascontiguousarray(code))
  try:
    start = 1 + 4 * data[0]
    shape = np.frombuffer(data[1:start], "<u4")
    change = np.frombuffer(data[start:], np.uint8)
    change = change.reshape(tuple(int(n) for n in shape))
  except (IndexError, ValueError) as error:
    raise RecordError(
      f"The frames of a record cannot be decoded ({error}); build the data set again."
    ) from error
  frames = change.copy()
  for before, after in zip(frames[:-1], frames[1:], strict=True):
    after += before  # ten times as fast as numpy's cumulative sum along this axis
  return frames


def encode(record: Mapping[str, Any]) -> dict[str, Any]:
  """Turns a record into features: strings, numbers and plain arrays.

  Raises:
    RecordError: a key is missing.
  """
  known = {key for key in TRUTH if key in record}
  optional = JOINTS if known <= set(JOINTS) else TRUTH
  absent = set(TRUTH) - set(optional) if known else set(TRUTH)
  features: dict[str, Any] = {"schema_version": SCHEMA_VERSION}
  for key in (*TEXTS, *INTEGERS, *FLOATS, *CODED, *ARRAYS, *FIXED_ARRAYS):
    if key in absent or (key in OPTIONAL and key not in record):
      continue
    if key not in record:
      raise RecordError(f"A clip record without {key!r} cannot be written.")
    value = record[key]
    if key in TEXTS:
      features[key] = str(value)
    elif key in INTEGERS:
      features[key] = int(value)
    elif key in FLOATS:
      features[key] = float(value)
    elif key in CODED:
      features[key] = encode_video(value)
    else:
      features[key] = np.asarray(value, {**ARRAYS, **FIXED_ARRAYS}[key])
  return features


def decode(
  features: Mapping[str, Any], fields: Collection[str] | None = None
) -> Record:
  """Turns features back into a record.

  Args:
    features: as returned by `encode`; strings may be bytes.
    fields: the keys wanted; all if None.

  Raises:
    RecordError: the schema is another one, or the frames are damaged.
  """
  version = int(features["schema_version"])
  if version != SCHEMA_VERSION:
    raise RecordError(
      f"A clip record has schema {version}, this program reads {SCHEMA_VERSION}; "
      "build the data set again."
    )
  record = {}
  for key, value in features.items():
    if key == "schema_version" or (fields is not None and key not in fields):
      continue
    if key in TEXTS:
      value = value.decode() if isinstance(value, bytes) else str(value)
    elif key in INTEGERS:
      value = int(value)
    elif key in FLOATS:
      value = float(value)
    elif key in CODED:
      value = decode_video(np.asarray(value))
    record[key] = value
  return record


def content_digest(record: Mapping[str, Any]) -> str:
  """Returns a hash of a record's frames, sound, beats and truth.

  The embedding of the music is not part of it: encoders round otherwise elsewhere.
  """
  digest = hashlib.sha256()
  for key in ("frames", "audio", "beat_times", *TRUTH, *OPTIONAL):
    if key in record:
      digest.update(np.ascontiguousarray(record[key]).tobytes())
  return digest.hexdigest()
