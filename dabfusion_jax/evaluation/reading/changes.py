"""Changes clips before they are measured: for baselines, and to measure stage 1."""

import dataclasses
from collections.abc import Callable

import av
import jax
import jax.numpy as jnp
import numpy as np

from dabfusion_jax.evaluation.reading import clips
from dabfusion_jax.stages.diffusion import DiffusionStage


@dataclasses.dataclass(frozen=True)
class Change:
  """A change of a clip; `version` changes whenever its result does."""

  name: str
  version: str
  apply: Callable[[clips.Clip], clips.Clip]


CODED = Change("coded", av.__version__, clips.after_coding)
FROZEN = Change("frozen", "1", clips.frozen)


def rebuilt_by(stage: DiffusionStage, digest: str) -> Change:
  """Returns the change of a real clip into what stage 1 rebuilds from its own motion.

  Args:
    stage: with the frozen stage 1.
    digest: of stage 1.
  """

  @jax.jit
  def rebuild(frames):
    motion, z = stage.autoencoder.apply(
      stage.autoencoder_variables, frames, method="analyse_clip"
    )
    return stage.decode(z[None], motion.flow[None], motion.occlusion[None])[0]

  def apply(clip: clips.Clip) -> clips.Clip:
    frames = np.asarray(rebuild(jnp.asarray(clip.frames, jnp.float32) / 255.0))
    frames = np.uint8(np.clip(frames, 0, 1) * 255 + 0.5)
    return dataclasses.replace(clip, frames=frames)

  return Change("stage1", digest, apply)
