"""Dances drawn for many clips under many conditions, each computed once."""

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tqdm

from dabfusion_jax.config import make_sampling_plan
from dabfusion_jax.diffusion import process
from dabfusion_jax.evaluation.reading.cache import FeatureCache
from dabfusion_jax.inference.inputs import Music
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

  What it has drawn lies in the cache, clip by clip.
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
    given = list(zip(pictures, heard, ids, strict=True))
    digests = [self._digest(sampling, *one, num_frames) for one in given]
    missing = [
      i for i, name in enumerate(digests) if not self.cache.has("dances", [name], {})
    ]
    title = f"{sampling.method} {sampling.num_steps}, {num_frames} frames"
    with tqdm.tqdm(total=len(missing), desc=title, unit="clip", leave=False) as bar:
      for start in range(0, len(missing), self.batch_size):
        chosen = missing[start : start + self.batch_size]
        drawn = self._compute(sampling, [given[i] for i in chosen], num_frames)
        for i, one in zip(chosen, drawn, strict=True):
          self.cache.get("dances", [digests[i]], {}, lambda one=one: one)
        bar.update(len(chosen))
    parts = [
      self.cache.get(
        "dances",
        [name],
        {},
        lambda one=one: self._compute(sampling, [one], num_frames)[0],
      )
      for name, one in zip(digests, given, strict=True)
    ]
    joined = {key: np.stack([part[key] for part in parts]) for key in parts[0]}
    return Dances(**joined, digests=digests)

  def decode(self, flow: np.ndarray, occlusion: np.ndarray, z: np.ndarray):
    """One clip's latents -> frames uint8 [t, h, w, 3]."""
    frames = self.pipeline.sampler.decode(z[None], flow[None], occlusion[None])
    return frames[0]

  def _digest(self, sampling, picture, music, number, num_frames) -> str:
    digest = hashlib.sha256(self.pipeline.digests["diffusion"].encode())
    digest.update(self.pipeline.digests["autoencoder"].encode())
    settings = [dataclasses.astuple(sampling), self.seed, int(number), num_frames]
    digest.update(repr([*settings, jax.__version__]).encode())
    for array in (picture, music.embedding, np.asarray(music.beat_times, np.float64)):
      digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()

  def _compute(self, sampling, given, num_frames) -> list[dict[str, np.ndarray]]:
    count = len(given)
    given = given + given[-1:] * (self.batch_size - count)  # one shape, one program
    pictures, heard, ids = map(list, zip(*given, strict=True))
    batch = self.pipeline.make_batch(pictures, heard, num_frames)
    ids = jnp.asarray([int(number) for number in ids], jnp.int32)
    keys = process.example_keys(jax.random.key(self.seed), ids)
    plan = make_sampling_plan(
      self.pipeline.config,
      method=sampling.method,
      num_steps=sampling.num_steps,
      eta=sampling.eta,
    )
    flow, occlusion = self.pipeline.sampler.draw(
      batch, keys, plan, sampling.guidance_scale
    )
    arrays = {"flow": flow, "occlusion": occlusion, "z": batch["z"]}
    arrays = {key: np.asarray(x) for key, x in arrays.items()}
    return [{key: x[i] for key, x in arrays.items()} for i in range(count)]
