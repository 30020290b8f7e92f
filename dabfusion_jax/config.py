"""Turns settings into the objects that train and sample."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from absl import logging
from jaxtyping import Array, PyTree

from dabfusion_jax.diffusion.samplers import Plan, make_plan
from dabfusion_jax.diffusion.schedule import NoiseSchedule, cosine_schedule
from dabfusion_jax.models.flow_autoencoder import FlowAutoencoder
from dabfusion_jax.models.joint_reader import JointReader
from dabfusion_jax.models.unet3d import UNet3D
from dabfusion_jax.ops.image_features import (
  ALEXNET_TAPS,
  VGG_FIRST_TAPS,
  alexnet_features,
  vgg_features,
)
from dabfusion_jax.ops.resize import antialias_down
from dabfusion_jax.parallel import sharding
from dabfusion_jax.pretrained import store
from dabfusion_jax.settings.autoencoder import AutoencoderModel, AutoencoderSettings
from dabfusion_jax.settings.diffusion import (
  DiffusionSettings,
  LatentsInfo,
  ProcessSettings,
  SamplingSettings,
)
from dabfusion_jax.stages.autoencoder import AutoencoderStage
from dabfusion_jax.stages.diffusion import DiffusionStage
from dabfusion_jax.storage.saved_stage import SavedStage
from data_pipeline.errors import UserError


@dataclasses.dataclass(frozen=True)
class _Perceptual:
  weights: str  # of `pretrained.store`
  features: Callable[..., Sequence[Array]]
  taps: tuple[str, ...]


_PERCEPTUAL = {
  "vgg19": _Perceptual("vgg19", vgg_features, VGG_FIRST_TAPS),
  "vgg16": _Perceptual("lpips-vgg16", vgg_features, VGG_FIRST_TAPS),
  "alexnet": _Perceptual("lpips-alex", alexnet_features, ALEXNET_TAPS),
}


def make_autoencoder(
  model: AutoencoderModel, frozen_parts: tuple[str, ...] = ()
) -> FlowAutoencoder:
  """Returns the stage-1 network, without its weights.

  Args:
    model: its settings.
    frozen_parts: modules that a training leaves as they are.
  """
  return FlowAutoencoder(**dataclasses.asdict(model), frozen_parts=frozen_parts)


def make_autoencoder_stage(
  settings: AutoencoderSettings, trunk: PyTree | None = None
) -> AutoencoderStage:
  """Returns stage 1 with its perceptual network.

  Args:
    settings: of the run.
    trunk: weights of the perceptual network (arrays or their shapes); None: loads them.

  Raises:
    MissingWeightsError: they were never imported; the message says how to get them.
  """
  loss = settings.loss
  features, frozen, perceptual_weights = None, {}, loss.perceptual_weights
  if loss.network != "none":
    network = _PERCEPTUAL[loss.network]
    if len(perceptual_weights) != len(network.taps):
      raise UserError(
        f"loss.perceptual_weights must be {len(network.taps)} numbers, not"
        f" {perceptual_weights}."
      )
    frozen = store.load(network.weights)["trunk"] if trunk is None else trunk
    # A map of weight zero is not computed.
    used = [p for p in zip(network.taps, perceptual_weights, strict=True) if p[1]]
    taps, perceptual_weights = zip(*used, strict=True)
    features = functools.partial(network.features, taps=taps)
    side, scale = settings.data.frame_size, min(loss.scales)
    small = lambda frozen, image: features(frozen, antialias_down(image, scale))
    try:
      image = jax.ShapeDtypeStruct((1, side, side, 3), "float32")
      jax.eval_shape(small, frozen, image)
    except ValueError as error:
      raise UserError(
        f"loss.scales: {scale:g} of a frame of {side} px is too small for {taps[-1]} of"
        f" {loss.network} ({error}); leave it out, or set the last of"
        " loss.perceptual_weights to 0."
      ) from None
  logging.info("Perceptual loss: %s.", loss.network)
  return AutoencoderStage(
    model=make_autoencoder(settings.model, settings.frozen_parts),
    features=features,
    frozen=frozen,
    scales=loss.scales,
    perceptual_weights=perceptual_weights,
    pixel_weight=loss.pixel_weight,
    equivariance_weight=loss.equivariance_weight,
    flow_weight=loss.flow_weight,
    parts_weight=loss.parts_weight,
    rebuild_by_truth=loss.rebuild_by_truth,
  )


def resolve_diffusion(
  settings: DiffusionSettings, stage1: SavedStage, manifest: Mapping[str, Any]
) -> DiffusionSettings:
  """Returns the settings with what only the latents know filled in, as a run keeps it.

  Sets `latents`, `diffusion.flow_scale` (if it is 0) and `diffusion.latent_bound`.

  Args:
    settings: from the config file.
    stage1: the frozen stage 1.
    manifest: of the latents (`latent_record.read_manifest`).

  Raises:
    UserError: the latents come from another stage 1, have other frames, are at rest, or
      have no joints for a reader of them.
  """
  folder, diffusion = settings.data.latents, settings.diffusion
  if manifest["autoencoder"] != stage1.digest:
    raise UserError(
      f"The latents in {folder} were made by another stage 1"
      f" ({manifest['autoencoder'][:12]}, not {stage1.digest[:12]}); make them again"
      " with dabfusion_jax.latents, or name the right data.autoencoder."
    )
  if manifest["num_frames"] != settings.data.num_frames:
    raise UserError(
      f"The latents in {folder} have {manifest['num_frames']} frames, the config asks"
      f" for {settings.data.num_frames}."
    )
  if settings.joints.weight and not manifest.get("joints"):
    raise UserError(
      f"The latents in {folder} come without joints, and joints.weight is"
      f" {settings.joints.weight:g}; make those of generated people again, with"
      " dabfusion_jax.latents --true_motion, or set --config.joints.weight=0."
    )
  if diffusion.flow_param == "residual":
    statistics = manifest["statistics"]
    if not statistics["residual_rms"]:
      raise UserError(f"Nothing moves in the training latents in {folder}.")
    scale = diffusion.flow_scale or 1.0 / statistics["residual_rms"]
    diffusion = dataclasses.replace(
      diffusion,
      flow_scale=scale,
      latent_bound=max(1.0, statistics["residual_max"] * scale),
    )
  model = stage1.settings.model
  size = model.flow_size(stage1.settings.data.frame_size)
  levels = len(settings.unet.channel_multipliers)
  if size % 2 ** (levels - 1):
    raise UserError(
      f"unet.channel_multipliers: {levels} levels need latents of a multiple of"
      f" {2 ** (levels - 1)} pixels; those of {settings.data.autoencoder} have {size}."
    )
  info = {key: manifest[key] for key in ("autoencoder", "data", "fps", "framing")}
  latents = LatentsInfo(
    **info,
    encoder=manifest["encoder"],
    z_channels=model.z_channels,
    z_pool=2**model.motion_down,
    elsewhere=manifest.get("elsewhere", 0.0),
    true_motion=manifest.get("true_motion", False),
    mirrored=manifest.get("mirrored", False),
    source=manifest.get("source"),
    num_clips=manifest.get("num_clips"),
  )
  return dataclasses.replace(settings, diffusion=diffusion, latents=latents)


def make_schedule(diffusion: ProcessSettings) -> NoiseSchedule:
  """Returns how much noise each timestep has."""
  return cosine_schedule(diffusion.num_timesteps, diffusion.noise_shift)


def make_sampling_plan(diffusion: ProcessSettings, sampling: SamplingSettings) -> Plan:
  """Returns the sampler's table of coefficients.

  Raises:
    UserError: an unknown method, or more or fewer steps than it can take.
  """
  try:
    return make_plan(
      make_schedule(diffusion),
      sampling.method,
      sampling.num_inference_steps,
      sampling.eta,
    )
  except ValueError as error:
    raise UserError(f"sampling: {error}") from error


def make_diffusion_stage(
  settings: DiffusionSettings, stage1: SavedStage
) -> DiffusionStage:
  """Returns stage 2 of settings that `resolve_diffusion` has completed."""
  condition, unet, diffusion = settings.condition, settings.unet, settings.diffusion
  joints, reader = settings.joints, None
  if joints.weight:
    reader = JointReader(joints.channels, joints.num_blocks)
  return DiffusionStage(
    unet=UNet3D(
      **dataclasses.asdict(unet),
      z_channels=settings.latents.z_channels,
      z_pool=settings.latents.z_pool,
      beat_mode=condition.beat_mode,
      constrain=sharding.constrain_batch,
    ),
    schedule=make_schedule(diffusion),
    music_scale=condition.music_scale,
    drop_probability=condition.drop_probability,
    prediction=diffusion.prediction,
    velocity_weight=diffusion.velocity_weight,
    flow_param=diffusion.flow_param,
    flow_scale=diffusion.flow_scale,
    threshold=diffusion.threshold or None,
    latent_bound=diffusion.latent_bound,
    plan=make_sampling_plan(diffusion, settings.sampling),
    autoencoder=make_autoencoder(stage1.settings.model),
    autoencoder_variables=stage1.variables,
    begins_anywhere=settings.latents.elsewhere > 0,
    joint_reader=reader,
    joint_weight=joints.weight,
  )
