"""Settings -> the objects that train: the only place where configs meet the stages.

`config` is what `configs/*.py` return, or the same as read back from a run's
config.json: nested mappings with the same keys.
"""

import functools
from collections.abc import Mapping
from typing import Any

from absl import logging

from dabfusion_jax.diffusion.samplers import Plan, make_plan
from dabfusion_jax.diffusion.schedule import NoiseSchedule, cosine_schedule
from dabfusion_jax.models.flow_autoencoder import FlowAutoencoder
from dabfusion_jax.models.unet3d import UNet3D
from dabfusion_jax.ops.image_features import (
  ALEXNET_TAPS,
  VGG_FIRST_TAPS,
  alexnet_features,
  vgg_features,
)
from dabfusion_jax.parallel import sharding
from dabfusion_jax.pretrained import store
from dabfusion_jax.stages.autoencoder import AutoencoderStage
from dabfusion_jax.stages.diffusion import DiffusionStage
from dabfusion_jax.storage.saved_stage import Trained
from dabfusion_jax.training.loop import LoopConfig
from dabfusion_jax.training.optimizer import Optimizer, make_optimizer
from data_pipeline.errors import UserError

Config = Mapping[str, Any]

# Perceptual network -> (imported weights, feature function, its maps).
_NETWORKS = {
  "vgg19": ("vgg19", vgg_features, VGG_FIRST_TAPS),
  "vgg16": ("lpips-vgg16", vgg_features, VGG_FIRST_TAPS),
  "alexnet": ("lpips-alex", alexnet_features, ALEXNET_TAPS),
}


def make_loop(config: Config) -> LoopConfig:
  """Settings of the training loop."""
  return LoopConfig(
    num_steps=config["num_steps"],
    log_every=config["log_every"],
    picture_every=config["picture_every"],
    checkpoint_every=config["checkpoint_every"],
    keep_checkpoints=config["keep_checkpoints"],
    keep_best_checkpoints=config["keep_best_checkpoints"],
    seed=config["seed"],
    ema_decay=config["ema_decay"],
    gradient_accumulation=config["gradient_accumulation"],
    mesh=tuple((name, size) for name, size in config["mesh"]),
    fsdp_min_bytes=config["fsdp_min_bytes"],
    max_skipped_steps=config["max_skipped_steps"],
    spike_grad_norm=config["spike_grad_norm"],
    stall_seconds=config["stall_seconds"],
  )


def make_optimizer_of(config: Config) -> Optimizer:
  """Adam and its schedule."""
  return make_optimizer(**dict(config["optimizer"]))


def make_autoencoder(config: Config) -> FlowAutoencoder:
  """The stage-1 network, without its weights."""
  return FlowAutoencoder(**dict(config["model"]))


def make_autoencoder_stage(config: Config, trunk: Any = None) -> AutoencoderStage:
  """Stage 1, with the perceptual network the config names.

  `trunk` is that network's weights (arrays or tracers) where they are not to be loaded.

  Raises:
    ValueError: unknown network.
    MissingWeightsError: its weights are not here; the message says how to get them.
  """
  loss = config["loss"]
  features, perceptual_weights = None, tuple(loss["perceptual_weights"])
  if loss["network"] != "none":
    if loss["network"] not in _NETWORKS:
      known = ", ".join([*_NETWORKS, "none"])
      raise UserError(f"Unknown loss.network {loss['network']!r}; known: {known}.")
    name, function, maps = _NETWORKS[loss["network"]]
    trunk = store.load(name)["trunk"] if trunk is None else trunk
    # A map of weight zero is not computed.
    pairs = [p for p in zip(maps, perceptual_weights, strict=True) if p[1]]
    taps, perceptual_weights = zip(*pairs, strict=True)
    features = functools.partial(function, trunk, taps=taps)
  logging.info("Perceptual loss: %s.", loss["network"])
  return AutoencoderStage(
    model=make_autoencoder(config),
    features=features,
    scales=tuple(loss["scales"]),
    perceptual_weights=perceptual_weights,
    pixel_weight=loss["pixel_weight"],
    equivariance_weight=loss["equivariance_weight"],
  )


def resolve_diffusion(
  config: Config, autoencoder: Trained, latents: Config
) -> dict[str, Any]:
  """The config with what only the data know filled in, as a run keeps it.

  Adds `latents`: the hash of stage 1 and data, frame rate, encoder and channels of z;
  and fills `diffusion.flow_scale` (where 0) and `diffusion.latent_bound`.

  Raises:
    ValueError: the latents come from another stage 1, or have other frames.
  """
  config = {
    key: dict(value) if isinstance(value, Mapping) else value
    for key, value in config.items()
  }
  if latents["autoencoder"] != autoencoder.digest:
    raise UserError(
      f"The latents in {config['data']['latents']} were made by another stage 1"
      f" ({latents['autoencoder'][:12]}, not {autoencoder.digest[:12]}); make them anew"
      " with dabfusion_jax.latents, or name the right data.autoencoder."
    )
  if latents["num_frames"] != config["data"]["num_frames"]:
    raise UserError(
      f"The latents in {config['data']['latents']} have {latents['num_frames']} frames,"
      f" the config asks for {config['data']['num_frames']}."
    )
  model = autoencoder.config["model"]
  diffusion = config["diffusion"]
  diffusion["latent_bound"] = 1.0
  if diffusion["flow_param"] == "absolute" and diffusion["flow_scale"] != 1:
    raise UserError(
      "diffusion.flow_scale belongs to the residual flow; with the absolute it is 1,"
      f" not {diffusion['flow_scale']}."
    )
  if diffusion["flow_param"] == "residual":
    if not latents["statistics"]["residual_rms"]:
      raise UserError(
        f"Nothing moves in the training latents in {config['data']['latents']}."
      )
    if not diffusion["flow_scale"]:
      diffusion["flow_scale"] = 1.0 / latents["statistics"]["residual_rms"]
    reach = latents["statistics"]["residual_max"] * diffusion["flow_scale"]
    diffusion["latent_bound"] = max(1.0, reach)
  config["latents"] = {
    "autoencoder": autoencoder.digest,
    "data": latents["data"],
    "fps": latents["fps"],
    "encoder": latents["encoder"],
    "framing": latents["framing"],
    "z_channels": min(
      model["codec_max_features"], model["codec_features"] * 2 ** model["num_down"]
    ),
  }
  return config


def make_schedule(config: Config) -> NoiseSchedule:
  """How much noise each timestep has."""
  diffusion = config["diffusion"]
  return cosine_schedule(diffusion["num_timesteps"], diffusion["noise_shift"])


def make_sampling_plan(config: Config, **changes: Any) -> Plan:
  """The sampler's table; `method`, `num_steps` and `eta` override the config's."""
  schedule = make_schedule(config)
  settings = {key: config["sampling"][key] for key in ("method", "num_steps", "eta")}
  return make_plan(schedule, **(settings | changes))


def make_diffusion_stage(config: Config, autoencoder: Trained) -> DiffusionStage:
  """Stage 2 of a config completed by `resolve_diffusion`."""
  condition, unet = config["condition"], config["unet"]
  diffusion = config["diffusion"]
  return DiffusionStage(
    unet=UNet3D(
      base_channels=unet["base_channels"],
      channel_multipliers=tuple(unet["channel_multipliers"]),
      z_channels=config["latents"]["z_channels"],
      num_heads=unet["num_heads"],
      head_dim=unet["head_dim"],
      beat_mode=condition["mode"] if condition["beats"] else "global_concat",
      remat=unet["remat"],
      constrain=sharding.constrain_batch,
      dtype=unet["dtype"],
    ),
    schedule=make_schedule(config),
    uses_beats=condition["beats"],
    music_scale=condition["music_scale"],
    drop_probability=condition["drop_probability"],
    prediction=diffusion["prediction"],
    velocity_weight=diffusion["velocity_weight"],
    flow_param=diffusion["flow_param"],
    flow_scale=diffusion["flow_scale"],
    threshold_percentile=diffusion["threshold"] or None,
    latent_bound=diffusion["latent_bound"],
    plan=make_sampling_plan(config),
    autoencoder=make_autoencoder(autoencoder.config),
    autoencoder_variables=autoencoder.variables,
  )
