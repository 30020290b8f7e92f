"""A run goes on with its own data and latents only."""

import dataclasses
import pathlib

import pytest

from dabfusion_jax.settings.config_files import load_config
from dabfusion_jax.settings.diffusion import LatentsInfo
from dabfusion_jax.storage.run_config import check_config, write_config
from dabfusion_jax.storage.run_folder import RunFolder
from data_pipeline.errors import UserError

_CONFIGS = pathlib.Path(__file__).parents[2] / "configs"
LATENTS = LatentsInfo("a" * 64, "c" * 64, 10, {"name": "spectral"}, "letterbox", 64)


def settings_of(stage, **latents):
  settings = load_config(_CONFIGS / f"{stage}.py", "demo")
  if stage == "autoencoder":
    return settings
  return dataclasses.replace(settings, latents=dataclasses.replace(LATENTS, **latents))


@pytest.fixture
def run(tmp_path):
  (tmp_path / "checkpoints" / "5").mkdir(parents=True)  # it has been trained
  return RunFolder(tmp_path)


@pytest.mark.parametrize("what", ["true_motion", "mirrored"])
def test_a_run_goes_on_with_the_same_latents_only(run, what):
  stage = "diffusion"
  write_config(run, settings_of(stage, **{what: None}))  # by an earlier version
  assert not check_config(run, settings_of(stage, **{what: True}))
  write_config(run, settings_of(stage, **{what: False}))
  with pytest.raises(UserError, match=f"latents.{what} was False, now True"):
    check_config(run, settings_of(stage, **{what: True}))


@pytest.mark.parametrize(
  ("stage", "group", "key"),
  [("autoencoder", "data", "content_sha256"), ("diffusion", "latents", "data")],
)
def test_a_run_whose_data_have_changed_is_told_how_to_go_on(run, stage, group, key):
  settings = settings_of(stage)
  write_config(run, settings)
  other = dataclasses.replace(getattr(settings, group), **{key: "d" * 64})
  said = f"on other data: {group}.{key} was .* Name the folder.*init_from={run}.$"
  with pytest.raises(UserError, match=said):
    check_config(run, dataclasses.replace(settings, **{group: other}))
