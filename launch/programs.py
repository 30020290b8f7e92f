"""The programs a pod would run, over shapes alone: steps of both stages, the sampler.

Nothing is computed or stored: parameters, data and even the frozen networks are
`jax.ShapeDtypeStruct`s with their shardings, ready to be lowered.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from dabfusion_jax.config import (
  make_autoencoder_stage,
  make_diffusion_stage,
  make_loop,
  make_optimizer_of,
  resolve_diffusion,
)
from dabfusion_jax.parallel import sharding
from dabfusion_jax.pretrained.converters import VGG19_LAYERS
from dabfusion_jax.storage.saved_stage import Trained
from dabfusion_jax.training.state import make_init
from dabfusion_jax.training.step import make_train_step
from data_pipeline.errors import UserError

Config = Mapping[str, Any]
MUSIC_FEATURES = 512  # of CLAP


@dataclass(frozen=True)
class Program:
  """A function to compile for `mesh`, with its abstract arguments."""

  name: str
  function: Callable  # jitted
  arguments: tuple[Any, ...]
  batch_size: int  # global
  # How often the body of its loop runs; XLA's cost analysis counts a body once.
  repeats: int


def round_up_batch(config: Config, mesh: jax.sharding.Mesh) -> int:
  """The config's global batch, or the next that the mesh and accumulation divide."""
  unit = mesh.size * config["gradient_accumulation"]
  return -(-config["batch_size"] // unit) * unit


def make_step_program(
  config: Config, stage1: Config, mesh: jax.sharding.Mesh, batch_size: int
) -> Program:
  """The training step of the config's stage.

  `stage1` is the config of the auto-encoder that a diffusion config goes with.
  """
  if config["stage"] == "autoencoder":
    spec, frozen = _pair_batch(config, batch_size), _abstract_trunk(config)
    make_stage = lambda frozen: make_autoencoder_stage(config, frozen)
  else:
    config, trained = _resolve(config, stage1)
    spec, frozen = _latent_batch(config, stage1, batch_size), {}
    make_stage = lambda unused: make_diffusion_stage(config, trained)
  optimizer = make_optimizer_of(config)
  loop = make_loop(config)
  key = jax.eval_shape(lambda: jax.random.key(0))

  def init(key, frozen):
    return make_init(make_stage(frozen), optimizer.tx, spec)(key)

  state = jax.eval_shape(init, key, frozen)
  shardings = sharding.state_shardings(state, mesh, loop.fsdp_min_bytes)
  state = jax.tree.map(_placed, state, shardings)

  def step(state, batch, key, frozen):
    train_step = make_train_step(
      make_stage(frozen),
      optimizer,
      ema_decay=loop.ema_decay,
      gradient_accumulation=loop.gradient_accumulation,
      skip_bad_steps=loop.max_skipped_steps > 0,
      spike_grad_norm=loop.spike_grad_norm,
    )
    return train_step(state, batch, key)

  return Program(
    f"{config['stage']} step",
    jax.jit(step, donate_argnums=0, out_shardings=(shardings, None)),
    (
      state,
      sharding.place(spec, sharding.batch_sharding(mesh)),
      sharding.place(key, jax.NamedSharding(mesh, jax.P())),
      sharding.place(frozen, jax.NamedSharding(mesh, jax.P())),
    ),
    batch_size,
    loop.gradient_accumulation,
  )


def make_sampler_program(
  config: Config, stage1: Config, mesh: jax.sharding.Mesh, batch_size: int
) -> Program:
  """Latent flow of `batch_size` clips by the config's sampler, without decoding."""
  config, trained = _resolve(config, stage1)
  stage = make_diffusion_stage(config, trained)
  batch = _latent_batch(config, stage1, batch_size)
  batch = {k: v for k, v in batch.items() if k not in ("flow", "occlusion")}
  keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), batch_size))
  full = _latent_batch(config, stage1, batch_size)
  params, _ = jax.eval_shape(stage.init, jax.random.key(0), full)
  sample = functools.partial(
    stage.sample,
    plan=stage.plan,
    guidance_scale=config["sampling"]["guidance_scale"],
  )
  split = sharding.batch_sharding(mesh)
  return Program(
    f"sampler, {len(stage.plan.t)} steps",
    jax.jit(sample, out_shardings=split),
    (
      sharding.place(params, jax.NamedSharding(mesh, jax.P())),
      sharding.place(batch, split),
      sharding.place(keys, split),
    ),
    batch_size,
    len(stage.plan.t),
  )


def _resolve(config: Config, stage1: Config) -> tuple[Config, Trained]:
  """A diffusion config completed as if its latents were there."""
  trained = Trained(stage1, {}, {}, 0, "abstract")
  latents = {
    "autoencoder": "abstract",
    "data": "abstract",
    "num_frames": config["data"]["num_frames"],
    "fps": stage1["data"]["fps"],
    "encoder": stage1["data"]["encoder"],
    "framing": "letterbox",
    "statistics": {"residual_rms": 0.05, "residual_max": 0.5},
  }
  return resolve_diffusion(config, trained, latents), trained


def _pair_batch(config: Config, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
  size = config["data"]["frame_size"]
  frame = _floats(batch_size, size, size, 3)
  return {"ref_image": frame, "driving_frame": frame}


def _latent_batch(config: Config, stage1: Config, b: int) -> dict[str, Any]:
  t = config["data"]["num_frames"]
  size = stage1["data"]["frame_size"] // 2 ** stage1["model"]["num_down"]
  return {
    "flow": _floats(b, t, size, size, 2),
    "occlusion": _floats(b, t, size, size, 1),
    "z": _floats(b, size, size, config["latents"]["z_channels"]),
    "music": _floats(b, MUSIC_FEATURES),
    "beats": _floats(b, t),
    "beat_features": _floats(b, t, 5),
  }


def _abstract_trunk(config: Config) -> Any:
  """The perceptual network, as an argument so that it is no constant to fold."""
  if config["loss"]["network"] == "none":
    return {}
  if config["loss"]["network"] != "vgg19":
    raise UserError(
      "The compile check knows the perceptual network vgg19, got"
      f" {config['loss']['network']!r}."
    )
  return {
    layer: {"kernel": _floats(3, 3, channels, width), "bias": _floats(width)}
    for layer, (_, channels, width) in VGG19_LAYERS.items()
  }


def _floats(*shape: int) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(shape, jnp.float32)


def _placed(x: jax.ShapeDtypeStruct, where: jax.NamedSharding):
  return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where)
