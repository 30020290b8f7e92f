"""Stores the stage-1 outputs of a clip as bytes, and makes batches of them.

A record is a safetensors blob in an ArrayRecord shard. The flow is stored as a float16
*residual* (sampling grid minus identity grid), and the identity grid is added back in
float32. Rounding costs half a unit in the last place: up to 1.5e-5 for residuals below
1/16, as most of them are, and 2.4e-4 between 1/2 and 1, which an absolute coordinate
would lose everywhere near the edges.
"""

import json
from collections.abc import Mapping
from typing import Any, SupportsIndex

import grain
import numpy as np
import safetensors
import safetensors.numpy
from etils import epath
from jaxtyping import Float, Float32

from data_pipeline import files
from data_pipeline.errors import UserError
from data_pipeline.extras import needs_extra
from data_pipeline.music.beats import beat_features, beat_vector
from data_pipeline.records import loader
from data_pipeline.records.slow_motion import SlowMotion

SCHEMA_VERSION = 2
MANIFEST = "manifest.json"
JOINTS = ("joints", "picture_joints")  # of generated bodies
_FLOATS16 = ("residual_flow", "occlusion", "z")


class LatentError(UserError):
  """A folder of cached latents that is missing, damaged, or not the expected one."""


def identity_grid(height: int, width: int) -> Float32[np.ndarray, "h w 2"]:
  """Returns the corner-aligned sampling grid of the identity, (x, y) in [-1, 1].

  This is `dabfusion_jax.ops.grid.identity_grid` in numpy: the data pipeline imports
  nothing of `dabfusion_jax`.
  """
  x = np.linspace(-1.0, 1.0, width, dtype=np.float32)
  y = np.linspace(-1.0, 1.0, height, dtype=np.float32)
  return np.stack(np.meshgrid(x, y), axis=-1)


def encode(record: Mapping[str, np.ndarray], name: str) -> bytes:
  """Encodes a record as bytes.

  Args:
    record: `flow` [t, s, s, 2], a sampling grid; `occlusion` [t, s, s, 1]; `z` [s, s,
      c]; `music` [d]; `librosa_beats` or `crnn_beats`, by their tracker, and, if known,
      `truth_beats`, in seconds from the window's start; and, if known, `joints` [t, 13,
      2] of the frames and `picture_joints` [13, 2] (`body_parts.JOINTS`), in the
      coordinates of the flow.
    name: of the clip.
  """
  arrays = dict(record)
  flow = arrays.pop("flow")
  arrays["residual_flow"] = flow - identity_grid(*flow.shape[1:3])
  for key in _FLOATS16:
    arrays[key] = np.ascontiguousarray(arrays[key], np.float16)
  return safetensors.numpy.save(arrays, {"name": name})


def decode(blob: bytes) -> dict[str, np.ndarray]:
  """Decodes what `encode` made, to float32."""
  arrays = safetensors.numpy.load(bytes(blob))
  for key in _FLOATS16:
    arrays[key] = arrays[key].astype(np.float32)
  residual = arrays.pop("residual_flow")
  arrays["flow"] = residual + identity_grid(*residual.shape[1:3])
  return arrays


def name_of(blob: bytes) -> str:
  """Returns the name of the clip that `encode` stored."""
  length = int.from_bytes(blob[:8], "little")
  return json.loads(blob[8 : 8 + length])["__metadata__"]["name"]


def read_manifest(folder: epath.PathLike) -> dict[str, Any]:
  """Reads the manifest that `dabfusion_jax.latents` wrote to a folder.

  Raises:
    LatentError: there is no finished cache, or it has another schema.
  """
  path = epath.Path(folder) / MANIFEST
  with needs_extra("gcs"):
    exists = path.exists()
  if not exists:
    raise LatentError(
      f"{folder} contains no finished latent cache; make it with: python -m "
      f"dabfusion_jax.latents --checkpoint=STAGE1 --data=DIR --output={folder}"
    )
  manifest = files.read_json(path)
  if not {"schema_version", "shards"} <= manifest.keys():
    raise LatentError(
      f"{folder} is no latent cache; name the output of dabfusion_jax.latents."
    )
  if manifest.get("schema_version") != SCHEMA_VERSION:
    raise LatentError(
      f"{folder} has latent schema {manifest.get('schema_version')}, this program "
      f"reads {SCHEMA_VERSION}; delete the cache and make it again."
    )
  return manifest


def open_latents(
  folder: epath.PathLike, split: str
) -> grain.sources.RandomAccessDataSource:
  """Opens the encoded records of a split ("train" or "test") for random access.

  Raises:
    LatentError: there is no finished cache, or no such split.
    RecordError: a shard is damaged.
    OSError: the folder is remote, and cannot be copied.
  """
  manifest = read_manifest(folder)
  shards = manifest["shards"].get(split)
  if not shards:
    raise LatentError(
      f"{folder} has no split {split!r}; it has {sorted(manifest['shards'])}."
    )
  # Only their names: a manifest must not lead out of the folder.
  names = [epath.Path(shard).name for shard in shards]
  here = files.fetch(folder, names, json.dumps(manifest, sort_keys=True))
  return _Shards(folder, [str(here / name) for name in names])


class _Shards:
  """Encoded records of ArrayRecord shards, whose damage is named."""

  def __init__(self, folder: epath.PathLike, paths: list[str]) -> None:
    self._place = str(folder), f"delete {folder} and make it again"
    with loader.damage_is_named(*self._place):
      self._source = grain.sources.ArrayRecordDataSource(paths)

  def __len__(self) -> int:
    return len(self._source)

  def __getitem__(self, index: SupportsIndex) -> bytes:
    if not 0 <= int(index) < len(self):
      raise IndexError(f"Record {index} of {len(self)}.")
    with loader.damage_is_named(*self._place):
      return self._source[int(index)]


def to_example(
  record: Mapping[str, np.ndarray], *, beats: str, fps: float
) -> dict[str, Float[np.ndarray, "..."]]:
  """Makes an example of a stage-2 batch.

  Args:
    record: as returned by `decode`.
    beats: a tracker, or "truth".
    fps: frames per second.

  Returns:
    `flow`, `occlusion`, `z`, `music` and, if it has them, both kinds of joints of the
    record, `beats` [t] and `beat_features` [t 5].

  Raises:
    LatentError: the record has no such beats.
  """
  times = record.get(f"{beats}_beats")
  if times is None:
    known = [key[:-6] for key in record if key.endswith("_beats")]
    raise LatentError(f"A clip has no {beats!r} beats; it has {known}.")
  num_frames = record["flow"].shape[0]
  keys = ("flow", "occlusion", "z", "music", *(key for key in JOINTS if key in record))
  return {key: record[key] for key in keys} | beats_of(times, num_frames, fps)


def beats_of(
  times: Float[np.ndarray, "n"], num_frames: int, fps: float
) -> dict[str, Float32[np.ndarray, "t ..."]]:
  """Returns `beats` [t] and `beat_features` [t 5] of an example, from beat times."""
  return {
    "beats": beat_vector(times, 0.0, num_frames, fps),
    "beat_features": beat_features(times, 0.0, num_frames, fps),
  }


def make_latents_dataset(
  source: grain.sources.RandomAccessDataSource,
  *,
  batch_size: int,
  seed: int,
  beats: str,
  fps: float,
  process_index: int = 0,
  process_count: int = 1,
  slow_motion: SlowMotion | None = None,
  num_batches: int = loader.ENDLESS,
) -> grain.IterDataset:
  """Makes stage-2 batches of `open_latents`.

  The arguments are those of `loader.batches` and `to_example`; `slow_motion` changes
  the speed of some clips.
  """

  def transform(
    blob: bytes, rng: np.random.Generator
  ) -> dict[str, Float[np.ndarray, "..."]]:
    record = decode(blob)
    if slow_motion is not None:
      record = slow_motion(record, rng)
    return to_example(record, beats=beats, fps=fps)

  place = process_index, process_count
  return loader.batches(
    source, batch_size, seed, transform, *place, num_batches=num_batches
  )
