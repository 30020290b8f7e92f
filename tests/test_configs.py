"""Every config and variant becomes a stage whose step has the right shapes.

Nothing is computed: `jax.eval_shape` traces the paper's full size in seconds.
"""

import importlib.util
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dabfusion_jax.config import (
  make_autoencoder,
  make_autoencoder_stage,
  make_diffusion_stage,
  make_loop,
  make_optimizer_of,
  resolve_diffusion,
)
from dabfusion_jax.pretrained import store
from dabfusion_jax.storage.saved_stage import Trained
from dabfusion_jax.training.state import make_init
from dabfusion_jax.training.step import make_train_step

_CONFIGS = pathlib.Path(__file__).parent.parent / "configs"
_VARIANTS = ("paper", "medium", "demo", "smoke")


def _load(name):
  spec = importlib.util.spec_from_file_location(name, _CONFIGS / f"{name}.py")
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def _config(name, variant):
  return _load(name).get_config(variant).to_dict()


def _count(tree):
  return sum(leaf.size for leaf in jax.tree.leaves(tree))


def _struct(*shape):
  return jax.ShapeDtypeStruct(shape, jnp.float32)


def _trace_step(stage, config, batch):
  """Shapes of the state after one step, and the names of its metrics."""
  optimizer = make_optimizer_of(config)
  init = make_init(stage, optimizer.tx, batch)
  state = jax.eval_shape(init, jax.random.key(0))
  step = make_train_step(
    stage,
    optimizer,
    ema_decay=config["ema_decay"],
    gradient_accumulation=config["gradient_accumulation"],
    skip_bad_steps=config["max_skipped_steps"] > 0,
    spike_grad_norm=config["spike_grad_norm"],
  )
  after, metrics = jax.eval_shape(step, state, batch, jax.random.key(1))
  jax.tree.map(lambda a, b: None if a.shape == b.shape else pytest.fail(), state, after)
  return state, metrics


def _fake_trunk():
  """Shapes of VGG-19 without its values."""
  widths = {1: (64, 2), 2: (128, 2), 3: (256, 4), 4: (512, 4), 5: (512, 1)}
  trunk, channels = {}, 3
  for block, (width, number) in widths.items():
    for i in range(1, number + 1):
      kernel = np.zeros((3, 3, channels, width), np.float32)
      trunk[f"conv{block}_{i}"] = {
        "kernel": kernel,
        "bias": np.zeros(width, np.float32),
      }
      channels = width
  return {"trunk": trunk}


@pytest.mark.parametrize("variant", _VARIANTS)
def test_autoencoder_config_traces(variant, monkeypatch):
  monkeypatch.setattr(store, "load", lambda name: _fake_trunk())
  config = _config("autoencoder", variant)
  stage = make_autoencoder_stage(config)
  size = config["data"]["frame_size"]
  frame = _struct(config["batch_size"], size, size, 3)
  state, metrics = _trace_step(
    stage, config, {"ref_image": frame, "driving_frame": frame}
  )
  assert ("perceptual" in metrics) == (config["loss"]["network"] != "none")
  if variant == "paper":
    assert _count(state.params) == 59_790_759


def _diffusion(variant, **condition):
  config = _config("diffusion", variant)
  config["condition"] |= condition
  stage1 = Trained(_config("autoencoder", variant), {}, {}, 0, "hash")
  latents = {
    "autoencoder": "hash",
    "data": "hash",
    "num_frames": config["data"]["num_frames"],
    "fps": 10,
    "encoder": {"name": "spectral", "version": 1, "size": 512},
    "framing": "letterbox",
    "statistics": {"residual_rms": 0.05, "residual_max": 0.5},
    "silence": [0.0] * 512,
  }
  config = resolve_diffusion(config, stage1, latents)
  stage = make_diffusion_stage(config, stage1)
  size = stage1.config["data"]["frame_size"] // 4
  b, t = config["batch_size"], config["data"]["num_frames"]
  batch = {
    "flow": _struct(b, t, size, size, 2),
    "occlusion": _struct(b, t, size, size, 1),
    "z": _struct(b, size, size, config["latents"]["z_channels"]),
    "music": _struct(b, 512),
    "beats": _struct(b, t),
    "beat_features": _struct(b, t, 5),
  }
  return stage, config, batch


@pytest.mark.parametrize("variant", _VARIANTS)
def test_diffusion_config_traces(variant):
  stage, config, batch = _diffusion(variant)
  state, _ = _trace_step(stage, config, batch)
  if variant == "paper":
    assert _count(state.params) == 41_017_027  # 512 + 40 elements of condition


def test_paper_without_beats_has_the_parameters_of_the_papers_b():
  stage, config, batch = _diffusion("paper", beats=False)
  init = make_init(stage, make_optimizer_of(config).tx, batch)
  state = jax.eval_shape(init, jax.random.key(0))
  assert _count(state.params) == 40_699_587


def test_demo_weights_fit_twelve_megabytes_in_float16():
  """Stage 1 and both stage-2 models ship together."""
  config = _config("autoencoder", "demo")
  model = make_autoencoder(config)
  frame = _struct(1, 64, 64, 3)
  stage1 = jax.eval_shape(model.init, jax.random.key(0), frame, frame)
  total = _count(stage1)
  for beats in (True, False):
    stage, config, batch = _diffusion("demo", beats=beats)
    params, _ = jax.eval_shape(stage.init, jax.random.key(0), batch)
    total += _count(params)
  assert 2 * total < 12e6


@pytest.mark.parametrize("name", ["autoencoder", "diffusion"])
def test_unknown_variant_names_the_known_ones(name):
  with pytest.raises(ValueError, match="'big'.*paper, medium, demo, smoke"):
    _load(name).get_config("big")


@pytest.mark.parametrize("name", ["autoencoder", "diffusion"])
def test_config_survives_json(name):
  config = _config(name, "demo")
  again = json.loads(json.dumps(config))
  assert make_loop(again) == make_loop(config)


def test_latents_of_another_stage_1_are_refused():
  config = _config("diffusion", "smoke")
  stage1 = Trained(_config("autoencoder", "smoke"), {}, {}, 0, "a" * 64)
  with pytest.raises(ValueError, match="another stage 1"):
    resolve_diffusion(config, stage1, {"autoencoder": "b" * 64})
