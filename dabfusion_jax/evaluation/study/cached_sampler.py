"""Draws dances for many clips under many conditions, each only once."""

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence

import jax
import numpy as np
from jaxtyping import Shaped, UInt8

from dabfusion_jax.evaluation.reading.cache import Arrays, FeatureCache, Key
from dabfusion_jax.inference.batch import make_batch
from dabfusion_jax.inference.song import Condition
from dabfusion_jax.pipeline import DancePipeline
from dabfusion_jax.settings.diffusion import SamplingSettings


@dataclasses.dataclass(frozen=True)
class Latents:
  """Latents of n clips; `digests` name all that each of them depends on."""

  flow: Shaped[np.ndarray, "n t s s 2"]  # sampling grids
  occlusion: Shaped[np.ndarray, "n t s s 1"]
  z: Shaped[np.ndarray, "n s s c"]
  digests: Sequence[str]

  def __len__(self) -> int:
    return len(self.flow)

  @property
  def num_frames(self) -> int:
    """Frames per clip."""
    return self.flow.shape[1]

  def take(self, indices: Sequence[int]) -> "Latents":
    """Returns some of the clips."""
    indices = list(indices)
    arrays = (x[indices] for x in (self.flow, self.occlusion, self.z))
    return Latents(*arrays, [self.digests[i] for i in indices])


@dataclasses.dataclass(eq=False)
class CachedSampler:
  """A trained model whose dances are kept on disk, clip by clip.

  It draws in batches of one size, so that one program serves all conditions.

  Attributes:
    pipeline: the model.
    cache: keeps dances.
    sampling: how they are drawn, unless `draw` says otherwise.
    seed: of the noise, with the number of each example.
    batch_size: clips per batch.
  """

  pipeline: DancePipeline
  cache: FeatureCache
  sampling: SamplingSettings
  seed: int
  batch_size: int = 4

  def draw(
    self,
    ref_images: Sequence[UInt8[np.ndarray, "h w 3"]],
    conditions: Sequence[Condition],
    example_ids: Sequence[int],
    num_frames: int,
    sampling: SamplingSettings | None = None,
  ) -> Latents:
    """Draws a dance per picture; see `DancePipeline.draw`."""
    sampling = sampling or self.sampling
    examples = list(zip(ref_images, conditions, example_ids, strict=True))
    digests = [self._digest(sampling, num_frames, *example) for example in examples]

    def compute(indices: Sequence[int]) -> Iterator[Arrays]:
      # The last batch is filled up: one shape, one program.
      filled = [*indices, *[indices[-1]] * (self.batch_size - len(indices))]
      pictures, batch_conditions, ids = zip(*(examples[i] for i in filled), strict=True)
      z = self.pipeline.batch_sampler.encode(pictures)
      batch = make_batch(z, batch_conditions, num_frames, self.pipeline.fps)
      flow, occlusion = self.pipeline.draw(batch, ids, sampling, self.seed)
      arrays = {"flow": flow, "occlusion": occlusion, "z": z}
      arrays = {key: np.asarray(x) for key, x in arrays.items()}
      for i in range(len(indices)):
        yield {key: x[i] for key, x in arrays.items()}

    title = f"{sampling.method} {sampling.num_inference_steps}, {num_frames} frames"
    keys = [Key([digest], {}) for digest in digests]
    clips = self.cache.get_all("dances", keys, compute, self.batch_size, title)
    arrays = {key: np.stack([clip[key] for clip in clips]) for key in clips[0]}
    return Latents(**arrays, digests=digests)

  def decode(self, latents: Latents, index: int) -> UInt8[np.ndarray, "t h w 3"]:
    """Returns the frames of one clip."""
    one = latents.take([index])
    return self.pipeline.batch_sampler.decode(one.z, one.flow, one.occlusion)[0]

  def _digest(
    self,
    sampling: SamplingSettings,
    num_frames: int,
    ref_image: UInt8[np.ndarray, "h w 3"],
    condition: Condition,
    example_id: int,
  ) -> str:
    digest = hashlib.sha256()
    for stage in ("diffusion", "autoencoder"):
      digest.update(self.pipeline.digests[stage].encode())
    settings = [*dataclasses.astuple(sampling), self.seed, example_id, num_frames]
    digest.update(repr([*settings, jax.__version__]).encode())
    beat_times = np.asarray(condition.beat_times, np.float64)
    for array in (ref_image, condition.embedding, beat_times):
      digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
