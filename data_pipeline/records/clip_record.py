"""The clip record: what one example of a data set holds, and how it is stored.

One schema for every source. `encode` makes of a record the plain features that the
TFDS builder writes; `decode` makes a record of them again, unpacking no more than is
asked for. Frames are kept without loss.

A record is a dict with these keys (t frames, h = w pixels, d embedding, s samples):

  name            str, of the video; with `window` unique in a data set
  window          int, which of the video's windows
  genre, track, dancer, camera   str, empty where unknown
  start_seconds   float, where in the video the window begins
  fps             float
  frames          uint8 [t h w 3]
  audio           int16 [s], mono, of the same window
  sample_rate     int, of the audio
  music           float32 [d], what the encoder makes of the audio, unit norm
  beat_times      float64 [n], tracked beats, seconds from the window's start, with one
                  beat beyond either edge

of annotated film also, NaN where unknown, and of generated data always:

  joints2d        float32 [t 17 2], (x, y) in pixels of the frames, COCO order
  joints3d        float32 [t 17 3], cm

and, of generated data alone:

  true_beat_times float64 [n], as above
  part_map        uint8 [t h w], 0 = background, 1 + p = body part p
  part_pose       float32 [t p 6], (x0, y0, r0, x1, y1, r1) of each part
"""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from jaxtyping import UInt8

from data_pipeline.errors import UserError

SCHEMA_VERSION = 2  # 1 packed frames with zlib

TEXTS = ("name", "genre", "track", "dancer", "camera")
INTEGERS = ("window", "sample_rate")
FLOATS = ("start_seconds", "fps")
CODED = ("frames", "part_map")  # by `encode_video`
ARRAYS = {  # of changing length
  "audio": np.int16,
  "beat_times": np.float64,
  "true_beat_times": np.float64,
}
FIXED_ARRAYS = {  # of the same shape in a whole data set
  "music": np.float32,
  "joints2d": np.float32,
  "joints3d": np.float32,
  "part_pose": np.float32,
}
JOINTS = ("joints2d", "joints3d")
TRUTH = ("true_beat_times", *JOINTS, "part_map", "part_pose")


class RecordError(UserError):
  """A record or data set other than expected: both sides, and what to do."""


def encode_video(frames: UInt8[np.ndarray, "t ..."]) -> UInt8[np.ndarray, "n"]:
  """Frames to bytes without loss: differences in time, modulo 256.

  A static camera leaves mostly zeros. They are packed by the shards themselves
  (ArrayRecord's zstd), which also unpack several times faster than zlib here did:
  `python -m benchmarks.loader`.
  """
  change = frames.copy()
  change[1:] -= frames[:-1]
  shape = np.asarray(frames.shape, "<u4")
  header = bytes([len(shape)]) + shape.tobytes()
  return np.frombuffer(header + change.tobytes(), np.uint8)


def decode_video(code: UInt8[np.ndarray, "n"]) -> UInt8[np.ndarray, "t ..."]:
  """The inverse of `encode_video`; RecordError for anything else."""
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
  """A record as text, numbers and plain arrays; checks that nothing is missing."""
  known = {key for key in TRUTH if key in record}
  optional = JOINTS if known <= set(JOINTS) else TRUTH
  absent = set(TRUTH) - set(optional) if known else set(TRUTH)
  features: dict[str, Any] = {"schema_version": SCHEMA_VERSION}
  for key in (*TEXTS, *INTEGERS, *FLOATS, *CODED, *ARRAYS, *FIXED_ARRAYS):
    if key in absent:
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
) -> dict[str, Any]:
  """The record of stored features.

  Args:
    features: as `encode` made them, text as str or bytes.
    fields: the keys wanted; all there are, if None.

  Raises:
    RecordError: another schema, or broken frames.
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
