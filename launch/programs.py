"""The programs that a pod would run, over shapes alone: training and sampling steps.

Nothing is computed or stored: parameters, data and even the frozen networks are
`jax.ShapeDtypeStruct`s with their shardings, ready to be lowered.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from dabfusion_jax.config import (
  make_autoencoder,
  make_autoencoder_stage,
  make_diffusion_stage,
  resolve_diffusion,
)
from dabfusion_jax.ops.joints import JOINTS
from dabfusion_jax.parallel import sharding
from dabfusion_jax.pretrained.converters import kernel_shapes
from dabfusion_jax.settings.autoencoder import AutoencoderSettings
from dabfusion_jax.settings.diffusion import DiffusionSettings
from dabfusion_jax.settings.stages import Settings
from dabfusion_jax.stages.diffusion import DiffusionStage
from dabfusion_jax.storage.saved_stage import SavedStage
from dabfusion_jax.training.optimizer import make_optimizer
from dabfusion_jax.training.state import make_init
from dabfusion_jax.training.step import make_train_step

MUSIC_FEATURES = 512  # of CLAP


@dataclass(frozen=True)
class Program:
  """A function to compile for `mesh`, with its abstract arguments."""

  name: str
  function: Callable  # jitted
  arguments: tuple[Any, ...]
  batch_size: int  # global
  # How often it runs, or the body of its loop, which XLA's cost analysis counts once.
  repeats: int


def round_up_batch(settings: Settings, mesh: jax.sharding.Mesh) -> int:
  """Returns the global batch, rounded up so that mesh and accumulation divide it."""
  unit = mesh.size * settings.gradient_accumulation
  return -(-settings.batch_size // unit) * unit


def make_step_program(
  settings: Settings,
  stage1: AutoencoderSettings | None,
  mesh: jax.sharding.Mesh,
  batch_size: int,
) -> Program:
  """Returns the training step of a stage.

  `stage1` are the settings of the auto-encoder that a diffusion stage goes with.
  """
  if isinstance(settings, AutoencoderSettings):
    spec = _pair_batch(settings, batch_size)
    stage = make_autoencoder_stage(settings, _abstract_trunk(settings))
  else:
    settings, saved = _resolve(settings, stage1)
    spec = _latent_batch(settings, stage1, batch_size)
    stage = make_diffusion_stage(settings, saved)
  optimizer = make_optimizer(settings.optimizer)
  key = jax.eval_shape(lambda: jax.random.key(0))
  state = jax.eval_shape(make_init(stage, optimizer.tx, spec), key)
  shardings = sharding.state_shardings(state, mesh, settings.fsdp_min_bytes)
  state = jax.tree.map(_placed, state, shardings)
  replicated = jax.NamedSharding(mesh, jax.P())
  train_step = make_train_step(stage, optimizer, settings)
  rate = optimizer.learning_rate(0)

  def step(state, frozen, batch, key):
    return train_step(state, frozen, batch, key, rate)

  return Program(
    f"{settings.stage} step",
    jax.jit(step, donate_argnums=0, out_shardings=(shardings, None)),
    (
      state,
      sharding.place(stage.frozen, replicated),
      sharding.place(spec, sharding.batch_sharding(mesh)),
      sharding.place(key, replicated),
    ),
    batch_size,
    settings.gradient_accumulation,
  )


def make_sampler_program(
  settings: DiffusionSettings,
  stage1: AutoencoderSettings,
  mesh: jax.sharding.Mesh,
  batch_size: int,
) -> Program:
  """Returns one sampling step of `batch_size` clips, without encoding or decoding.

  It is the step that `inference.sampler` runs on the host, here over a batch that
  `parallel.sharding` splits. `repeats` is the number of steps of a sample.
  """
  stage = make_abstract_diffusion(settings, stage1)
  batch = _latent_batch(settings, stage1, batch_size)
  params, _ = jax.eval_shape(stage.init, jax.random.key(0), batch)
  del batch["flow"], batch["occlusion"]
  keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), batch_size))
  step = jax.eval_shape(lambda: stage.plan.at(0))
  z_term = jax.eval_shape(stage.z_term, params, batch["z"])
  carry = jax.eval_shape(stage.first_carry, batch, keys)
  sample_step = functools.partial(
    stage.sample_step,
    guidance_scale=settings.sampling.guidance_scale,
    is_stochastic=stage.plan.is_stochastic,
  )
  replicated, split = jax.NamedSharding(mesh, jax.P()), sharding.batch_sharding(mesh)
  return Program(
    f"sampler, {len(stage.plan.t)} steps",
    jax.jit(sample_step, out_shardings=split),
    (
      *sharding.place((params, step), replicated),
      *sharding.place((batch, z_term, keys, carry), split),
    ),
    batch_size,
    len(stage.plan.t),
  )


def make_abstract_diffusion(
  settings: DiffusionSettings, stage1: AutoencoderSettings
) -> DiffusionStage:
  """Returns the stage of diffusion settings as if their latents were there.

  Its stage 1 has no variables.
  """
  return make_diffusion_stage(*_resolve(settings, stage1))


def make_decoder_program(
  settings: DiffusionSettings,
  stage1: AutoencoderSettings,
  mesh: jax.sharding.Mesh,
  batch_size: int,
) -> Program:
  """Returns the drawing of the frames of `batch_size` clips from their latents."""
  stage = make_abstract_diffusion(settings, stage1)
  size = stage1.data.frame_size
  image, model = _floats(1, size, size, 3), make_autoencoder(stage1.model)
  variables = jax.eval_shape(model.init, jax.random.key(0), image, image)
  batch = _latent_batch(settings, stage1, batch_size)
  latents = tuple(batch[name] for name in ("z", "flow", "occlusion"))
  return Program(
    "decoder",
    jax.jit(stage.decode, out_shardings=sharding.batch_sharding(mesh)),
    (
      sharding.place(variables, jax.NamedSharding(mesh, jax.P())),
      *sharding.place(latents, sharding.batch_sharding(mesh)),
    ),
    batch_size,
    1,
  )


def _resolve(
  settings: DiffusionSettings, stage1: AutoencoderSettings
) -> tuple[DiffusionSettings, SavedStage]:
  """Completes diffusion settings as if their latents were there."""
  saved = SavedStage(stage1, {}, {}, 0, "abstract")
  manifest = {
    "autoencoder": "abstract",
    "data": "abstract",
    "num_frames": settings.data.num_frames,
    "fps": stage1.data.fps,
    "encoder": {"name": stage1.data.encoder},
    "framing": "letterbox",
    "statistics": {"residual_rms": 0.05, "residual_max": 0.5},
    "joints": True,
  }
  return resolve_diffusion(settings, saved, manifest), saved


def _pair_batch(
  settings: AutoencoderSettings, batch_size: int
) -> dict[str, jax.ShapeDtypeStruct]:
  size = settings.data.frame_size
  frame = _floats(batch_size, size, size, 3)
  batch = {"ref_image": frame, "driving_frame": frame}
  if settings.loss.needs_truth:  # fields of `data_pipeline.records.true_motion`
    shape = (batch_size, size, size)
    batch |= {
      "part_pose": _floats(batch_size, 2, settings.model.num_keypoints, 6),
      "part_map": jax.ShapeDtypeStruct(shape, jnp.uint8),
      "motion": _floats(*shape, 2),
      "is_visible": jax.ShapeDtypeStruct(shape, jnp.bool_),
    }
  return batch


def _latent_batch(
  settings: DiffusionSettings, stage1: AutoencoderSettings, b: int
) -> dict[str, jax.ShapeDtypeStruct]:
  t = settings.data.num_frames
  size = stage1.model.flow_size(stage1.data.frame_size)
  z_size = size * 2**stage1.model.motion_down
  channels = stage1.model.z_channels + stage1.model.picture_channels
  joints = {}
  if settings.joints.weight:
    joints = {"joints": (b, t, len(JOINTS), 2), "picture_joints": (b, len(JOINTS), 2)}
  return {name: _floats(*shape) for name, shape in joints.items()} | {
    "flow": _floats(b, t, size, size, 2),
    "occlusion": _floats(b, t, size, size, 1),
    "z": _floats(b, z_size, z_size, channels),
    "music": _floats(b, MUSIC_FEATURES),
    "beats": _floats(b, t),
    "beat_features": _floats(b, t, 5),
  }


def _abstract_trunk(settings: AutoencoderSettings) -> Any:
  """Returns the shapes of the perceptual network."""
  network = settings.loss.network
  if network == "none":
    return {}
  return {
    layer: {"kernel": _floats(*kernel), "bias": _floats(kernel[-1])}
    for layer, kernel in kernel_shapes(network).items()
  }


def _floats(*shape: int) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(shape, jnp.float32)


def _placed(x: jax.ShapeDtypeStruct, where: jax.NamedSharding):
  return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where)
