"""Dances drawn for many clips under many conditions, each batch computed once."""

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tqdm

from dabfusion_jax import stage_factory
from dabfusion_jax.diffusion import process
from dabfusion_jax.evaluation.cache import FeatureCache
from dabfusion_jax.inputs import Music
from dabfusion_jax.pipeline import DancePipeline


@dataclasses.dataclass(frozen=True)
class Sampling:
  """How a dance is drawn; see `samplers.make_plan`."""

  method: str
  num_steps: int
  eta: float
  guidance_scale: float


@dataclasses.dataclass(frozen=True)
class Dances:
  """Drawn latents of n clips; `digest` names all that they depend on."""

  flow: np.ndarray  # float32 [n, t, s, s, 2], sampling grids
  occlusion: np.ndarray  # float32 [n, t, s, s, 1]
  z: np.ndarray  # float32 [n, s, s, c]
  digests: Sequence[str]  # of every clip

  def __len__(self) -> int:
    return len(self.flow)

  def take(self, indices: Sequence[int]) -> "Dances":
    indices = list(indices)
    arrays = (x[indices] for x in (self.flow, self.occlusion, self.z))
    return Dances(*arrays, [self.digests[i] for i in indices])


@dataclasses.dataclass(eq=False)
class Artist:
  """A trained model that draws in batches of one size: one program for all conditions.

  What it has drawn lies in the cache, so an interrupted run goes on at a batch.
  """

  pipeline: DancePipeline
  cache: FeatureCache
  sampling: Sampling
  seed: int
  batch_size: int = 4

  def draw(
    self,
    pictures: Sequence[np.ndarray],
    heard: Sequence[Music],
    ids: Sequence[int],
    num_frames: int,
    **changes: Any,
  ) -> Dances:
    """Dances of `pictures`, uint8 [h, w, 3], to what is heard; chance comes from `ids`.

    `changes` replace fields of `sampling`.
    """
    sampling = dataclasses.replace(self.sampling, **changes)
    parts, digests = [], []
    starts = range(0, len(pictures), self.batch_size)
    title = f"{sampling.method} {sampling.num_steps}, {num_frames} frames"
    for start in tqdm.tqdm(starts, desc=title, unit="batch", leave=False):
      rows = slice(start, start + self.batch_size)
      arguments = (pictures[rows], heard[rows], ids[rows], num_frames)
      names = [self._digest(sampling, *one) for one in _each(*arguments)]
      value = self.cache.get(
        "dances", names, {}, lambda a=arguments, s=sampling: self._compute(s, *a)
      )
      parts.append(value)
      digests += names
    joined = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    return Dances(**joined, digests=digests)

  def decode(self, flow: np.ndarray, occlusion: np.ndarray, z: np.ndarray):
    """One clip's latents -> frames uint8 [t, h, w, 3]."""
    frames = self.pipeline.decode(z[None], flow[None], occlusion[None])
    return frames[0]

  def _digest(self, sampling, picture, music, number, num_frames) -> str:
    digest = hashlib.sha256(self.pipeline.digests["diffusion"].encode())
    digest.update(self.pipeline.digests["autoencoder"].encode())
    settings = [dataclasses.astuple(sampling), self.seed, int(number), num_frames]
    digest.update(repr([*settings, jax.__version__]).encode())
    for array in (picture, music.embedding, np.asarray(music.beat_times, np.float64)):
      digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()

  def _compute(self, sampling, pictures, heard, ids, num_frames):
    count = len(pictures)
    fill = [count - 1] * (self.batch_size - count)  # one shape, one program
    order = [*range(count), *fill]
    batch = self.pipeline.make_batch(
      [pictures[i] for i in order], [heard[i] for i in order], num_frames
    )
    ids = jnp.asarray([int(ids[i]) for i in order], jnp.int32)
    keys = process.example_keys(jax.random.key(self.seed), ids)
    plan = stage_factory.make_sampling_plan(
      self.pipeline.config,
      method=sampling.method,
      num_steps=sampling.num_steps,
      eta=sampling.eta,
    )
    flow, occlusion = self.pipeline.draw(batch, keys, plan, sampling.guidance_scale)
    arrays = {"flow": flow, "occlusion": occlusion, "z": batch["z"]}
    return {key: np.asarray(x)[:count] for key, x in arrays.items()}


def _each(pictures, heard, ids, num_frames):
  for picture, music, number in zip(pictures, heard, ids, strict=True):
    yield picture, music, number, num_frames
