"""Opens what all parts of the study share: clips, models, and their dances."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from dabfusion_jax.evaluation.reading.cache import FeatureCache
from dabfusion_jax.evaluation.reading.networks import open_networks
from dabfusion_jax.evaluation.study.cached_sampler import CachedSampler, Latents
from dabfusion_jax.evaluation.study.frame_scores import FrameScores
from dabfusion_jax.evaluation.study.held_out import HeldOutClips, open_held_out
from dabfusion_jax.evaluation.study.latent_motion import LatentMotion
from dabfusion_jax.pipeline import DancePipeline
from data_pipeline.errors import UserError

VERSION = 3  # raise when a part measures or names anything in another way
CHANCE = "chance"  # name of the null in closed form, `latent_motion.chance`


@dataclasses.dataclass(eq=False)
class Study:
  """Models and the clips that they are tested on.

  Attributes:
    samplers: "e", a model that follows beats, and perhaps "b", one that does not.
    clips: held-out clips.
    scores: of frames.
    seed: of shuffles.
    data: folder of the data set.
    latents: folder of its latents, for the training clips.
    methods: samplers that the part `steps` compares.
    long_steps: numbers of steps of its long runs.
  """

  samplers: Mapping[str, CachedSampler]
  clips: HeldOutClips
  scores: FrameScores
  seed: int
  data: str
  latents: str
  methods: Sequence[str]
  long_steps: Sequence[int]

  @property
  def has_both(self) -> bool:
    """Whether both models are there to be compared."""
    return {"e", "b"} <= set(self.samplers)

  @functools.cached_property
  def dances(self) -> dict[str, Latents]:
    """Dances of each model for each clip, to its own music and given beats."""
    return {name: self.clips.draw(model) for name, model in self.samplers.items()}

  @functools.cached_property
  def motions(self) -> dict[str, LatentMotion]:
    """The motion of the dances of each model."""
    return {name: self.clips.motion(dances) for name, dances in self.dances.items()}

  def identity(self, part: str) -> dict[str, Any]:
    """Returns all that the claims of a part depend on, as plain values."""
    models = self.samplers.items()
    identity = {
      "version": VERSION,
      "weights": {name: dict(model.pipeline.digests) for name, model in models},
      "sampling": {name: dataclasses.asdict(model.sampling) for name, model in models},
      "data": self.clips.data,
      "clips": self.clips.names,
      "given_beats": self.clips.beat_kind,
      "seed": self.seed,
      "networks": dict(self.scores.networks.hashes),
      "jax": jax.__version__,
    }
    if part == "steps":
      identity |= {"methods": self.methods, "long_steps": self.long_steps}
    return identity


def open_study(
  checkpoints: Mapping[str, str | None],
  data: str,
  latents: str,
  cache: FeatureCache,
  *,
  num_clips: int,
  sampling: Mapping[str, Any],
  seed: int,
  methods: Sequence[str],
  long_steps: Sequence[int],
) -> Study:
  """Opens the models, the clips and the networks.

  Args:
    checkpoints: of the models, by name; those that are None are left out.
    data: folder of the data set.
    latents: folder of its latents.
    cache: keeps dances and features.
    num_clips: held-out clips to test on.
    sampling: fields of `SamplingSettings` that replace those of the checkpoints.
    seed: of noise, shuffles and splits.
    methods: see `Study`.
    long_steps: see `Study`.

  Raises:
    UserError: any of them cannot be used, or they do not belong together.
  """
  samplers = {}
  for name, folder in checkpoints.items():
    if folder is not None:
      pipeline = DancePipeline.from_pretrained(folder)
      settings = dataclasses.replace(pipeline.settings.sampling, **sampling)
      samplers[name] = CachedSampler(pipeline, cache, settings, seed)
  pipelines = [sampler.pipeline for sampler in samplers.values()]
  if len({pipeline.digests["autoencoder"] for pipeline in pipelines}) > 1:
    raise UserError("The models have different stages 1; train both on the same one.")
  networks = open_networks(("i3d", "alex"))
  for line in networks.missing.values():
    raise UserError(line)
  clips = open_held_out(pipelines[0], data, latents, num_clips)
  scores = FrameScores(clips, networks, cache, seed)
  return Study(samplers, clips, scores, seed, data, latents, methods, long_steps)
