"""Every key of a config is read by the program it belongs to.

A key nobody reads is a setting without effect, which no type and no flag parser would
notice. So each is taken out in turn, and the real `train` must miss it.
"""

import importlib.util
import pathlib
from types import SimpleNamespace

import pytest

from dabfusion_jax import train
from dabfusion_jax.pipeline import DancePipeline
from dabfusion_jax.storage import saved_stage
from data_pipeline.records import latent_record, loader, pairs

_CONFIGS = pathlib.Path(__file__).parent.parent / "configs"
_STAGES = ("autoencoder", "diffusion")
# What goes whole into a constructor, which refuses what it does not know.
WHOLE = ("model", "optimizer")
# Read when a dance is made, not in training.
SAMPLING_ALONE = ("sampling", "guidance_scale")


def _config(stage):
  spec = importlib.util.spec_from_file_location(stage, _CONFIGS / f"{stage}.py")
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  # Started from somewhere, so that what belongs to that is read as well.
  return module.get_config("smoke").to_dict() | {"init_from": "somewhere"}


def _keys():
  for stage in _STAGES:
    for group, value in _config(stage).items():
      nested = isinstance(value, dict) and group not in WHOLE
      yield from ((stage, group, key) for key in (value if nested else [None]))


def _without(config, group, key):
  if key is None:
    return {name: value for name, value in config.items() if name != group}
  rest = {name: value for name, value in config[group].items() if name != key}
  return config | {group: rest}


@pytest.fixture
def run_train(monkeypatch, tmp_path):
  """`train.main` of a config, up to the loop; data and weights are stand-ins."""
  stage1 = saved_stage.Trained(_config("autoencoder"), {}, {}, 0, "digest")
  manifest = {
    "autoencoder": "digest",
    "data": "hash",
    "num_frames": 8,
    "fps": 10,
    "encoder": {"name": "spectral", "version": 1, "size": 512},
    "framing": "letterbox",
    "statistics": {"residual_rms": 0.05, "residual_max": 0.5},
    "silence": [0.0] * 512,
    "content_sha256": "hash",
  }
  started = []
  monkeypatch.chdir(tmp_path)
  for place, name, stand_in in (
    (train, "run", lambda command: None),
    (train, "train", lambda *args, **options: started.append(args)),
    (train, "check_self_flow", lambda *args: None),
    (saved_stage, "load_trained", lambda folder, stage: stage1),
    (saved_stage, "publish", lambda *args: None),
    *((module, "read_manifest", lambda folder: manifest) for module in _DATA),
    (loader, "open_clips", lambda *args, **options: []),
    (pairs, "make_pairs_dataset", lambda *args, **options: []),
    (latent_record, "open_latents", lambda *args: []),
    (latent_record, "make_latents_dataset", lambda *args, **options: []),
  ):
    monkeypatch.setattr(place, name, stand_in)

  def run(config):
    value = SimpleNamespace(to_dict=lambda: config)
    monkeypatch.setattr(train, "_CONFIG", SimpleNamespace(value=value))
    train.main(["train"])
    return started

  return run


_DATA = (loader, latent_record)


@pytest.mark.parametrize("stage", _STAGES)
def test_the_whole_config_starts_a_training(stage, run_train):
  assert len(run_train(_config(stage))) == 1


@pytest.mark.parametrize(("stage", "group", "key"), list(_keys()))
def test_every_key_is_read(stage, group, key, run_train):
  config = _without(_config(stage), group, key)
  if (group, key) == SAMPLING_ALONE:
    pipeline = SimpleNamespace(config=config, _check_length=lambda number: None)
    run = lambda config: DancePipeline.__call__(pipeline, "a.png", "a.wav")
  else:
    run = run_train
  with pytest.raises((KeyError, TypeError), match=key or group):
    run(config)


@pytest.mark.parametrize("group", WHOLE)
def test_a_key_too_many_is_refused_by_its_constructor(group, run_train):
  config = _config("autoencoder")
  config[group] |= {"nonsense": 1}
  with pytest.raises(TypeError, match="nonsense"):
    run_train(config)
