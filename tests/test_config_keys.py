"""Every key of a config is known, typed and used: none is a setting without effect."""

import dataclasses
import importlib.util
import json
import math
import pathlib
import re
import typing

import pytest

from dabfusion_jax.settings.autoencoder import AutoencoderSettings
from dabfusion_jax.settings.diffusion import DiffusionSettings
from dabfusion_jax.settings.mapping import flatten, from_mapping, to_mapping
from dabfusion_jax.settings.stages import read_settings
from data_pipeline.errors import UserError

_ROOT = pathlib.Path(__file__).parent.parent
_TYPES = {"autoencoder": AutoencoderSettings, "diffusion": DiffusionSettings}


def _config(stage, variant="smoke"):
  path = _ROOT / "configs" / f"{stage}.py"
  spec = importlib.util.spec_from_file_location(stage, path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module.get_config(variant).to_dict()


def _keys():
  for stage in _TYPES:
    yield from ((stage, key) for key in flatten(_config(stage)))


def _without(config, key):
  group, _, name = key.rpartition(".")
  config = {k: dict(v) if isinstance(v, dict) else v for k, v in config.items()}
  (config[group] if group else config).pop(name)
  return config


def _with(config, key, value):
  group, _, name = key.rpartition(".")
  if not group:
    return config | {name: value}
  return config | {group: config[group] | {name: value}}


@pytest.mark.parametrize("stage", _TYPES)
@pytest.mark.parametrize("variant", ["paper", "people", "medium", "demo", "smoke"])
def test_settings_survive_their_file(stage, variant):
  settings = read_settings(_config(stage, variant), strict=True)
  assert read_settings(to_mapping(settings), strict=True) == settings


@pytest.mark.parametrize(("stage", "key"), list(_keys()))
def test_a_missing_key_is_named(stage, key):
  if key == "stage":
    pytest.skip("it says which settings to read")
  with pytest.raises(UserError, match=f"The setting {re.escape(key)} is missing"):
    read_settings(_without(_config(stage), key), strict=True)


@pytest.mark.parametrize("stage", _TYPES)
def test_unknown_keys_and_wrong_types_are_named(stage):
  config = _config(stage)
  with pytest.raises(UserError, match="Unknown setting nonsense; known: .*batch_size"):
    read_settings(config | {"nonsense": 1}, strict=True)
  data = config["data"] | {"nonsense": 1}
  with pytest.raises(UserError, match="Unknown setting data.nonsense"):
    read_settings(config | {"data": data}, strict=True)
  with pytest.raises(UserError, match="num_steps must be an integer, not 'many'"):
    read_settings(config | {"num_steps": "many"}, strict=True)
  with pytest.raises(UserError, match=r"mesh\[0\] must be like tuple\[str, int\]"):
    read_settings(config | {"mesh": (2,)}, strict=True)
  with pytest.raises(UserError, match="data must be a group of settings, not 3"):
    read_settings(config | {"data": 3}, strict=True)


def test_a_run_saved_before_a_key_existed_takes_its_default():
  config = _without(_config("diffusion"), "eval_every")
  assert read_settings(config, strict=False).eval_every == 0


def test_every_setting_is_used_outside_the_settings():
  """A field that no code reads by its name would be a setting without effect."""
  places = [
    path
    for path in (_ROOT / "dabfusion_jax").rglob("*.py")
    if "settings" not in path.parts
  ]
  code = "\n".join(path.read_text(encoding="utf-8") for path in places)
  # These go whole into a constructor that refuses what it does not know.
  whole = ("AutoencoderModel", "UNetSettings", "SamplingSettings")
  assert all(word in code for word in ("asdict(model)", "asdict(unet)"))

  def check(settings_type):
    hints = typing.get_type_hints(settings_type)
    for field in dataclasses.fields(settings_type):
      assert re.search(rf"\.{field.name}\b", code), field.name
      for part in (hints[field.name], *typing.get_args(hints[field.name])):
        if dataclasses.is_dataclass(part) and part.__name__ not in whole:
          check(part)

  for settings_type in _TYPES.values():
    check(settings_type)


def test_settings_that_do_not_fit_are_refused_with_their_keys():
  config = _config("autoencoder")
  model = config["model"] | {"hourglass_blocks": 6}
  with pytest.raises(UserError, match="model.hourglass_blocks=6.*allows 3"):
    read_settings(config | {"model": model}, strict=True)
  for key, value, reason in (
    ("data.frame_size", 36, "hourglass_blocks=1 halves 9 px .* allows 0"),
    ("model.detector_scale", 0.125, "hourglass_blocks=3 halves 4 px .* allows 2"),
    ("model.motion_down", 1, "hourglass_blocks=3 halves 4 px .* allows 2"),
    ("model.motion_down", 2, "num_down . model.motion_down must be at most 3"),
  ):
    blocks = 3 if "blocks=3" in reason else 1
    changed = _with(_with(config, "model.hourglass_blocks", blocks), key, value)
    with pytest.raises(UserError, match=reason):
      read_settings(changed, strict=True)
  changed = _with(_with(config, "data.frame_size", 36), "model.hourglass_blocks", 0)
  read_settings(changed, strict=True)
  with pytest.raises(UserError, match="detector_scale: .* 36 px .* divide by 8"):
    read_settings(_with(changed, "model.detector_scale", 0.125), strict=True)
  config = _config("diffusion")
  for group, key, value in (
    ("condition", "beat_mode", "loud"),
    ("diffusion", "prediction", "x1"),
    ("diffusion", "flow_scale", 0.5),
    ("data", "beats", "mine"),
  ):
    changed = config | {group: config[group] | {key: value}}
    with pytest.raises(UserError, match=key):
      read_settings(changed, strict=True)


ODD = (None, "x", "", -1, 0, 0.5, 1e30, math.nan, math.inf, 10**400, True, [], [0], {})


@pytest.mark.parametrize("stage", _TYPES)
def test_an_odd_value_is_used_or_refused_by_the_name_of_its_setting(stage):
  for key in flatten(_config(stage)):
    for value in ODD:
      config = _with(_config(stage), key, value)
      try:
        settings = read_settings(config, strict=True)
      except UserError as error:
        assert key.rpartition(".")[2] in str(error) and len(str(error)) < 300, error
      else:
        json.dumps(to_mapping(settings), allow_nan=False)


@pytest.mark.parametrize(
  ("stage", "key", "values"),
  [
    ("autoencoder", "seed", (-1, 2**32)),
    ("autoencoder", "num_steps", (0, 2**31)),
    ("autoencoder", "batch_size", (0, -4, 2**20 + 1)),
    ("autoencoder", "optimizer.learning_rate", (0, math.nan, math.inf, 1e39)),
    ("autoencoder", "optimizer.milestones", ([0], [2**31], [5, 5])),
    ("autoencoder", "init_parts", (["encoder"],)),  # without init_from
    ("autoencoder", "spike_grad_norm", (0, math.nan)),
    ("autoencoder", "data.folder", ("",)),
    ("autoencoder", "data.frame_size", (0, -32, 10**9)),
    ("autoencoder", "data.pairs_per_clip", (0,)),
    ("autoencoder", "model.num_keypoints", (0, 10**9)),
    ("autoencoder", "model.detector_temperature", (0, -1)),
    ("autoencoder", "model.dtype", ("float", "", "float16")),
    ("autoencoder", "fsdp_min_bytes", (-1,)),
    ("autoencoder", "model.detector_scale", (0.4, 3.0)),
    ("autoencoder", "model.detector_head_size", (0, 4)),
    ("autoencoder", "loss.scales", ([], [0], [2], [1.0, 0.4])),
    ("autoencoder", "loss.pixel_weight", (-1,)),
    ("diffusion", "data.silent", (-0.1, 1.5)),
    ("diffusion", "condition.drop_probability", (2,)),
    ("diffusion", "unet.channel_multipliers", ([], [1, 0])),
    ("diffusion", "unet.dtype", ("float16",)),
    ("diffusion", "unet.num_heads", (0, -1)),
    ("diffusion", "unet.head_dim", (5,)),
    ("diffusion", "unet.base_channels", (20,)),
    ("diffusion", "diffusion.num_timesteps", (0, 10**9)),
    ("diffusion", "diffusion.noise_shift", (0, 1e-9, 1e200)),
    ("diffusion", "diffusion.threshold", (1.5,)),
    ("diffusion", "sampling.num_inference_steps", (0,)),
    ("diffusion", "sampling.eta", (2,)),
  ],
)
def test_a_value_that_no_run_can_use_is_refused_before_it_begins(stage, key, values):
  for value in values:
    with pytest.raises(UserError, match=key.rpartition(".")[2]):
      read_settings(_with(_config(stage), key, value), strict=True)


def test_a_perceptual_loss_of_no_weight_is_refused():
  config = _with(_config("autoencoder"), "loss.perceptual_weights", [0.0] * 5)
  read_settings(_with(config, "loss.network", "none"), strict=True)
  with pytest.raises(UserError, match="perceptual_weights are all 0"):
    read_settings(_with(config, "loss.network", "vgg19"), strict=True)


def test_a_loss_of_nothing_is_refused():
  config = _with(_config("autoencoder"), "loss.network", "none")
  config = _with(config, "loss.equivariance_weight", 0.0)
  read_settings(_with(config, "loss.pixel_weight", 1.0), strict=True)
  with pytest.raises(UserError, match="All weights of the loss are 0"):
    read_settings(_with(config, "loss.pixel_weight", 0.0), strict=True)


def test_resolved_settings_are_no_keys_of_a_config():
  keys = flatten(_config("diffusion"))
  assert not {"diffusion.latent_bound", "latents", "history"} & set(keys)
  settings = from_mapping(DiffusionSettings, _config("diffusion"), strict=True)
  assert settings.latents is None and settings.history == ()
