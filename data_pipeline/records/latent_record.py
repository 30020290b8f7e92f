"""Cached stage-1 outputs of a clip: arrays <-> bytes, and how they become batches.

A record is a safetensors blob in an ArrayRecord shard. The flow is kept as float16
*residual* (grid minus identity), and the grid is added back in float32. Rounding costs
half a unit in the last place: up to 1.5e-5 where the residual is below 1/16, as most
of it is, 2.4e-4 between 1/2 and 1, what an absolute coordinate would lose everywhere
near the edges.
"""

import json
from collections.abc import Mapping
from typing import Any

import grain
import numpy as np
import safetensors
import safetensors.numpy
from etils import epath
from jaxtyping import Float

from data_pipeline import files
from data_pipeline.errors import UserError
from data_pipeline.music.beats import beat_features, beat_vector
from data_pipeline.records import loader
from data_pipeline.records.slow_motion import SlowMotion

SCHEMA_VERSION = 2
MANIFEST = "manifest.json"
_FLOATS16 = ("residual_flow", "occlusion", "z")


class LatentError(UserError):
  """A folder of cached latents is missing, damaged, or not the one expected."""


def identity_grid(height: int, width: int) -> np.ndarray:
  """The corner-aligned sampling grid, float32 [h, w, 2], (x, y) last."""
  x = np.linspace(-1.0, 1.0, width, dtype=np.float32)
  y = np.linspace(-1.0, 1.0, height, dtype=np.float32)
  return np.stack(np.meshgrid(x, y), axis=-1)


def encode(record: Mapping[str, np.ndarray], name: str) -> bytes:
  """Record -> bytes; `flow` is absolute, the name identifies the clip.

  Keys: `flow` [t, s, s, 2], `occlusion` [t, s, s, 1], `z` [s, s, c], `music` [d],
  `librosa_beats` and, where known, `truth_beats`: seconds from the window's start.
  """
  arrays = dict(record)
  flow = arrays.pop("flow")
  arrays["residual_flow"] = flow - identity_grid(*flow.shape[1:3])
  for key in _FLOATS16:
    arrays[key] = np.ascontiguousarray(arrays[key], np.float16)
  return safetensors.numpy.save(arrays, {"name": name})


def decode(blob: bytes) -> dict[str, np.ndarray]:
  """Inverse of `encode`, in float32."""
  arrays = safetensors.numpy.load(bytes(blob))
  for key in _FLOATS16:
    arrays[key] = arrays[key].astype(np.float32)
  residual = arrays.pop("residual_flow")
  arrays["flow"] = residual + identity_grid(*residual.shape[1:3])
  return arrays


def read_manifest(folder: epath.PathLike) -> dict[str, Any]:
  """What `latent_cache` wrote about a folder.

  Raises:
    LatentError: no finished cache there, or one of another schema.
  """
  path = epath.Path(folder) / MANIFEST
  if not path.exists():
    raise LatentError(
      f"{folder} holds no finished latent cache; make it with: python -m"
      f" dabfusion_jax.latents --checkpoint=STAGE1 --data=DIR --output={folder}"
    )
  manifest = json.loads(path.read_text())
  if manifest.get("schema_version") != SCHEMA_VERSION:
    raise LatentError(
      f"{folder} has latent schema {manifest.get('schema_version')}, this program"
      f" reads {SCHEMA_VERSION}; make the cache anew."
    )
  return manifest


def open_latents(
  folder: epath.PathLike, split: str
) -> grain.sources.RandomAccessDataSource:
  """Random access to the coded records of a split ("train" or "test").

  Raises:
    LatentError: no finished cache there, or no such split.
    OSError: the folder is on another machine, and cannot be copied from there.
  """
  manifest = read_manifest(folder)
  shards = manifest["shards"].get(split)
  if not shards:
    raise LatentError(
      f"{folder} has no split {split!r}; it has {sorted(manifest['shards'])}."
    )
  names = [epath.Path(shard).name for shard in shards]  # names, wherever they lead
  here = files.fetch(folder, names, json.dumps(manifest, sort_keys=True))
  return grain.sources.ArrayRecordDataSource([str(here / name) for name in names])


def to_example(
  record: Mapping[str, np.ndarray], *, beats: str, fps: float
) -> dict[str, Float[np.ndarray, "..."]]:
  """One example of a stage-2 batch; `beats` is "librosa" or "truth".

  Raises:
    LatentError: the record knows no such beats.
  """
  times = record.get(f"{beats}_beats")
  if times is None:
    known = [key[:-6] for key in record if key.endswith("_beats")]
    raise LatentError(f"A clip has no {beats!r} beats, only those of {known}.")
  frames = record["flow"].shape[0]
  return {
    "flow": record["flow"],
    "occlusion": record["occlusion"],
    "z": record["z"],
    "music": record["music"],
    "beats": beat_vector(times, 0.0, frames, fps),
    "beat_features": beat_features(times, 0.0, frames, fps),
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
) -> grain.IterDataset:
  """Endless stage-2 batches of `open_latents`; see `loader.batches`, `to_example`."""

  def transform(blob, rng):
    record = decode(blob)
    if slow_motion is not None:
      record = slow_motion(record, rng)
    return to_example(record, beats=beats, fps=fps)

  return loader.batches(
    source, batch_size, seed, transform, process_index, process_count
  )
