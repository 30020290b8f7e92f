"""Changes clips before they are measured: for baselines, and to measure stage 1."""

import dataclasses
from collections.abc import Callable

import av
import jax
import jax.numpy as jnp

from dabfusion_jax.evaluation.reading import clips, coding
from dabfusion_jax.ops.pixels import from_uint8, to_uint8
from dabfusion_jax.stages.diffusion import DiffusionStage


@dataclasses.dataclass(frozen=True)
class Change:
  """A change of a clip; `version` changes whenever its result does."""

  name: str
  version: str
  apply: Callable[[clips.Clip], clips.Clip]


CODED = Change("coded", av.__version__, coding.after_coding)
FROZEN = Change("frozen", "1", clips.frozen)


def heard_until(seconds: float) -> Change:
  """Returns the change that ends a clip's sound early, for the motion of another."""

  def apply(clip: clips.Clip) -> clips.Clip:
    audio = clip.audio[: round(seconds * clips.SAMPLE_RATE)]
    return dataclasses.replace(clip, audio=audio)

  return Change("heard_until", f"{seconds:.6f}", apply)


def rebuilt_by(stage: DiffusionStage, digest: str) -> Change:
  """Returns the change of a real clip into what stage 1 rebuilds from its own motion.

  Args:
    stage: with the frozen stage 1.
    digest: of stage 1.
  """

  @jax.jit
  def rebuild(variables, frames):
    motion, z = stage.autoencoder.apply(variables, frames, method="analyse_clip")
    motion = (x[None] for x in (motion.flow, motion.occlusion))
    return stage.decode(variables, z[None], *motion)[0]

  variables = jax.device_put(stage.autoencoder_variables)

  def apply(clip: clips.Clip) -> clips.Clip:
    frames = rebuild(variables, from_uint8(jnp.asarray(clip.frames)))
    return dataclasses.replace(clip, frames=to_uint8(frames))

  return Change("stage1", digest, apply)
