"""Every config and variant becomes a stage whose step has the right shapes.

Nothing is computed: `jax.eval_shape` traces the paper's full size in seconds.
"""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dabfusion_jax.config import (
  make_autoencoder,
  make_autoencoder_stage,
  make_diffusion_stage,
  resolve_diffusion,
)
from dabfusion_jax.pretrained import store
from dabfusion_jax.settings.config_files import load_config
from dabfusion_jax.storage.saved_stage import SavedStage
from dabfusion_jax.training.optimizer import make_optimizer
from dabfusion_jax.training.state import make_init
from dabfusion_jax.training.step import make_train_step
from data_pipeline.errors import UserError

_CONFIGS = pathlib.Path(__file__).parent.parent / "configs"
# Programs run smoke; demo and medium lie between.
_TRACED = ("paper", pytest.param("people", marks=pytest.mark.slow))


def _settings(name, variant):
  return load_config(_CONFIGS / f"{name}.py", variant)


def _stage1(variant):
  return SavedStage(_settings("autoencoder", variant), {}, {}, 0, "hash")


def _count(tree):
  return sum(leaf.size for leaf in jax.tree.leaves(tree))


def _struct(*shape):
  return jax.ShapeDtypeStruct(shape, jnp.float32)


def _trace_step(stage, settings, batch):
  """Returns the shapes of the state after one step, and the names of its metrics."""
  optimizer = make_optimizer(settings.optimizer)
  init = make_init(stage, optimizer.tx, batch)
  state = jax.eval_shape(init, jax.random.key(0))
  step = make_train_step(stage, optimizer, settings)
  program, (after, metrics) = jax.make_jaxpr(step, return_shape=True)(
    state, stage.frozen, batch, jax.random.key(1), optimizer.learning_rate(0)
  )
  # Weights are arguments: constants would be compiled and kept with every program.
  assert sum(np.asarray(x).nbytes for x in program.consts) < 1e6
  jax.tree.map(lambda a, b: None if a.shape == b.shape else pytest.fail(), state, after)
  return state, metrics


def _fake_trunk(name):
  """Shapes of AlexNet, or of VGG-19, without its values."""
  zeros = lambda *shape: np.zeros(shape, np.float32)
  conv = lambda side, *widths: {
    "kernel": zeros(side, side, *widths),
    "bias": zeros(widths[-1]),
  }
  if name == "lpips-alex":
    layers = ((11, 3, 64), (5, 64, 192), (3, 192, 384), (3, 384, 256), (3, 256, 256))
    return {"trunk": {f"conv{i + 1}": conv(*layer) for i, layer in enumerate(layers)}}
  trunk, channels = {}, 3
  for block, (width, number) in enumerate(
    ((64, 2), (128, 2), (256, 4), (512, 4), (512, 1)), 1
  ):
    for i in range(1, number + 1):
      trunk[f"conv{block}_{i}"] = conv(3, channels, width)
      channels = width
  return {"trunk": trunk}


def test_the_network_is_told_which_of_its_parts_are_frozen():
  settings = dataclasses.replace(
    _settings("autoencoder", "smoke"), frozen_parts=("encoder",)
  )
  assert make_autoencoder_stage(settings).model.frozen_parts == ("encoder",)


@pytest.mark.parametrize(("size", "weights"), [(64, 5), (100, 4)])
def test_a_scale_too_small_for_the_perceptual_loss_is_refused(size, weights):
  settings = _settings("autoencoder", "paper")
  trunk = _fake_trunk("vgg19")["trunk"]
  loss = dataclasses.replace(
    settings.loss, perceptual_weights=(1.0,) * weights + (0.0,) * (5 - weights)
  )
  model = dataclasses.replace(settings.model, hourglass_blocks=0)
  data = dataclasses.replace(settings.data, frame_size=size)
  changed = dataclasses.replace(settings, data=data, model=model, loss=loss)
  with pytest.raises(UserError, match=rf"loss.scales: 0.125 of a frame of {size} px"):
    make_autoencoder_stage(changed, trunk)
  loss = dataclasses.replace(loss, scales=(1.0, 0.25))
  make_autoencoder_stage(dataclasses.replace(changed, loss=loss), trunk)


@pytest.mark.parametrize("variant", _TRACED)
def test_autoencoder_config_traces(variant, monkeypatch):
  monkeypatch.setattr(store, "load", _fake_trunk)
  settings = _settings("autoencoder", variant)
  stage = make_autoencoder_stage(settings)
  b, size = settings.batch_size, settings.data.frame_size
  frame = _struct(b, size, size, 3)
  batch = {"ref_image": frame, "driving_frame": frame}
  if variant == "people":
    batch |= {
      "part_pose": _struct(b, 2, 21, 6),
      "part_map": jax.ShapeDtypeStruct(frame.shape[:3], jnp.uint8),
      "motion": _struct(b, size, size, 2),
      "is_visible": jax.ShapeDtypeStruct(frame.shape[:3], bool),
    }
  state, metrics = _trace_step(stage, settings, batch)
  assert ("perceptual" in metrics) == (settings.loss.network != "none")
  if variant == "paper":
    assert _count(state.params) == 59_790_759


def _diffusion(variant, **condition):
  settings = _settings("diffusion", variant)
  settings = dataclasses.replace(
    settings, condition=dataclasses.replace(settings.condition, **condition)
  )
  stage1 = _stage1(variant)
  manifest = {
    "autoencoder": "hash",
    "data": "hash",
    "num_frames": settings.data.num_frames,
    "fps": 10,
    "encoder": {"name": "spectral", "version": 1, "size": 512},
    "framing": "letterbox",
    "statistics": {"residual_rms": 0.05, "residual_max": 0.5},
    "joints": True,
  }
  settings = resolve_diffusion(settings, stage1, manifest)
  stage = make_diffusion_stage(settings, stage1)
  size = stage1.settings.model.flow_size(stage1.settings.data.frame_size)
  z_size = size * settings.latents.z_pool
  b, t = settings.batch_size, settings.data.num_frames
  batch = {
    "flow": _struct(b, t, size, size, 2),
    "occlusion": _struct(b, t, size, size, 1),
    "z": _struct(b, z_size, z_size, settings.latents.z_channels),
    "music": _struct(b, 512),
    "beats": _struct(b, t),
    "beat_features": _struct(b, t, 5),
  }
  if settings.joints.weight:
    batch |= {"joints": _struct(b, t, 13, 2), "picture_joints": _struct(b, 13, 2)}
  return stage, settings, batch


def test_the_demo_has_the_networks_of_medium():
  for name, key in (("autoencoder", "model"), ("diffusion", "unet")):
    demo, medium = (getattr(_settings(name, v), key) for v in ("demo", "medium"))
    assert demo == medium
  assert _diffusion("demo")[0].unet == _diffusion("medium")[0].unet


@pytest.mark.parametrize("variant", _TRACED)
def test_diffusion_config_traces(variant):
  stage, settings, batch = _diffusion(variant)
  state, _ = _trace_step(stage, settings, batch)
  if variant == "paper":
    assert _count(state.params) == 41_017_027  # 512 + 40 elements of condition


def test_paper_without_beats_has_the_parameters_of_the_papers_b():
  stage, settings, batch = _diffusion("paper", beat_mode="none")
  init = make_init(stage, make_optimizer(settings.optimizer).tx, batch)
  state = jax.eval_shape(init, jax.random.key(0))
  assert _count(state.params) == 40_699_587


def test_demo_weights_fit_twelve_megabytes_in_float16():
  """Stage 1 and both stage-2 models ship together."""
  model = make_autoencoder(_settings("autoencoder", "demo").model)
  frame = _struct(1, 64, 64, 3)
  stage1 = jax.eval_shape(model.init, jax.random.key(0), frame, frame)
  total = _count(stage1)
  for beat_mode in ("per_frame_film", "none"):
    stage, _, batch = _diffusion("demo", beat_mode=beat_mode)
    params, _ = jax.eval_shape(stage.init, jax.random.key(0), batch)
    total += _count(params)
  assert 2 * total < 12e6


def test_every_other_example_of_a_part_needs_an_even_part():
  settings = _settings("autoencoder", "people")
  assert settings.loss.rebuild_by_truth and settings.batch_size == 8
  dataclasses.replace(settings, gradient_accumulation=4)
  with pytest.raises(UserError, match="must leave an even number"):
    dataclasses.replace(settings, gradient_accumulation=8)


@pytest.mark.parametrize("name", ["autoencoder", "diffusion"])
def test_unknown_variant_names_the_known_ones(name):
  with pytest.raises(ValueError, match="'big'.*paper, people, medium, demo, smoke"):
    _settings(name, "big")


def test_latents_without_joints_teach_no_reader():
  settings = _settings("diffusion", "people")
  stage1 = _stage1("people")
  manifest = {"autoencoder": "hash", "num_frames": settings.data.num_frames}
  with pytest.raises(ValueError, match="without joints.*--true_motion"):
    resolve_diffusion(settings, stage1, manifest)


def test_latents_of_another_stage_1_are_refused():
  settings = _settings("diffusion", "smoke")
  with pytest.raises(ValueError, match="another stage 1"):
    resolve_diffusion(settings, _stage1("smoke"), {"autoencoder": "other"})


def test_a_network_deeper_than_its_latents_is_refused_with_its_key():
  settings = _settings("diffusion", "smoke")
  unet = dataclasses.replace(settings.unet, channel_multipliers=(1, 2, 2, 2, 2))
  stage1 = _stage1("smoke")
  manifest = {"autoencoder": "hash", "num_frames": settings.data.num_frames}
  with pytest.raises(ValueError, match="unet.channel_multipliers: 5 levels"):
    resolve_diffusion(dataclasses.replace(settings, unet=unet), stage1, manifest)
