"""Settings -> the objects that train: the only place where configs meet the stages.

`config` is what `configs/*.py` return, or the same as read back from a run's
config.json: nested mappings with the same keys.
"""

import functools
from collections.abc import Mapping
from typing import Any

from absl import logging

from dabfusion_jax import weights
from dabfusion_jax.models.flow_autoencoder import FlowAutoencoder
from dabfusion_jax.ops.image_features import alexnet_features, vgg_features
from dabfusion_jax.optimizer import Optimizer, make_optimizer
from dabfusion_jax.stages.autoencoder import AutoencoderStage
from dabfusion_jax.train_loop import LoopConfig

Config = Mapping[str, Any]

# Perceptual network -> (imported weights, feature function).
_NETWORKS = {
  "vgg19": ("vgg19", vgg_features),
  "vgg16": ("lpips-vgg16", vgg_features),
  "alexnet": ("lpips-alex", alexnet_features),
}


def make_loop(config: Config) -> LoopConfig:
  """Settings of the training loop."""
  return LoopConfig(
    num_steps=config["num_steps"],
    log_every=config["log_every"],
    picture_every=config["picture_every"],
    checkpoint_every=config["checkpoint_every"],
    keep_checkpoints=config["keep_checkpoints"],
    seed=config["seed"],
    ema_decay=config["ema_decay"],
    mesh=tuple((name, size) for name, size in config["mesh"]),
    fsdp_min_bytes=config["fsdp_min_bytes"],
  )


def make_optimizer_of(config: Config) -> Optimizer:
  """Adam and its schedule."""
  return make_optimizer(**dict(config["optimizer"]))


def make_autoencoder(config: Config) -> FlowAutoencoder:
  """The stage-1 network, without its weights."""
  return FlowAutoencoder(**dict(config["model"]))


def make_autoencoder_stage(config: Config) -> AutoencoderStage:
  """Stage 1, with the perceptual network the config names.

  Raises:
    ValueError: unknown network.
    MissingWeightsError: its weights are not here; the message says how to get them.
  """
  loss = config["loss"]
  features, perceptual_weights = None, tuple(loss["perceptual_weights"])
  if loss["network"] != "none":
    if loss["network"] not in _NETWORKS:
      known = ", ".join([*_NETWORKS, "none"])
      raise ValueError(f"Unknown loss.network {loss['network']!r}; known: {known}.")
    name, function = _NETWORKS[loss["network"]]
    trunk = weights.load(name)["trunk"]
    # A map of weight zero is not computed.
    used = [i for i, w in enumerate(perceptual_weights) if w]
    taps = [function.__defaults__[0][i] for i in used]
    perceptual_weights = tuple(perceptual_weights[i] for i in used)
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
