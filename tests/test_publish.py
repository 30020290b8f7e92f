"""From a run to a folder to give away, and from there into a new run."""

import dataclasses
import functools
import importlib.resources
import json
import logging
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest
from toy_stage import assert_trees_equal

from dabfusion_jax.publish import publish
from dabfusion_jax.settings.config_files import load_config
from dabfusion_jax.settings.diffusion import LatentsInfo
from dabfusion_jax.storage import saved_stage
from dabfusion_jax.storage.checkpointing import Checkpoints
from dabfusion_jax.storage.model_card import training_data
from dabfusion_jax.storage.run_config import check_config, write_config
from dabfusion_jax.storage.run_folder import RunFolder
from dabfusion_jax.training.state import TrainState
from dabfusion_jax.training.warm_start import (
  WarmStartError,
  history_of,
  make_warm_start,
)
from data_pipeline.files import file_sha256

_CONFIGS = pathlib.Path(__file__).parent.parent / "configs"


class _Position:
  def get_state(self):
    return {}


def _params(seed):
  keys = jax.random.split(jax.random.key(seed), 2)
  return {
    "encoder": {"kernel": jax.random.normal(keys[0], (8, 4))},
    "decoder": {"kernel": jax.random.normal(keys[1], (4, 8))},
    "detector": {"bias": jnp.full(2, float(seed))},
  }


def _state(seed):
  params = _params(seed)
  stats = {"encoder": {"mean": jnp.full(4, float(seed))}}
  average = jax.tree.map(lambda x: x + 1, params)
  return TrainState(jnp.int32(5), params, stats, {"mu": params}, average)


def _write_run(folder, stage, seed):
  with Checkpoints(folder, keep=1) as checkpoints:
    checkpoints.save(5, _state(seed), _Position(), loss=1.0)
  settings = load_config(_CONFIGS / f"{stage}.py", "demo")
  optimizer = dataclasses.replace(settings.optimizer, learning_rate=0.5)
  settings = dataclasses.replace(
    settings, num_steps=9, batch_size=4, ema_decay=0.9, optimizer=optimizer
  )
  if stage == "autoencoder":
    data = dataclasses.replace(settings.data, folder="/somewhere/of/mine/clips")
    settings = dataclasses.replace(settings, data=data)
  else:
    digest = saved_stage.load_stage(folder.parent / "one", "autoencoder").digest
    latents = LatentsInfo(digest, "c" * 64, 10, {"name": "spectral"}, "letterbox", 64)
    settings = dataclasses.replace(settings, latents=latents)
  write_config(RunFolder(folder), settings)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """A stage-2 workdir with its stage 1, as a training leaves it."""
  folder = tmp_path_factory.mktemp("runs")
  _write_run(folder / "one", "autoencoder", 1)
  _write_run(folder / "two", "diffusion", 2)
  stage1 = saved_stage.load_stage(folder / "one", "autoencoder")
  saved_stage.save_stage(stage1, folder / "two" / saved_stage.AUTOENCODER)
  return folder / "two"


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_published_weights_are_those_of_the_run(run, tmp_path, dtype):
  before = saved_stage.load_stage(run, "diffusion")
  folder = publish(run, tmp_path / "out", dtype)
  after = saved_stage.load_stage(folder, "diffusion")
  if dtype != "float32":
    near = dict(rtol=2**-11, atol=1e-7) if dtype == "float16" else dict(atol=0.01)
    jax.tree.map(
      lambda x, y: np.testing.assert_allclose(x, y, **near), after.params, before.params
    )
  else:
    assert_trees_equal(after.params, before.params)
    assert after.digest == before.digest
  assert saved_stage.load_autoencoder_of(folder).step == 5
  if dtype != "float32":
    with pytest.raises(
      saved_stage.SavedStageError, match="holds weights, but not as float32"
    ):
      publish(folder, folder, "float32")
  modes = {path.stat().st_mode for path in folder.rglob("*") if path.is_file()}
  assert len(modes) == 1  # whoever reads the card reads the weights
  publish(run, folder, dtype)  # again: nothing to do


def test_model_card_says_what_and_from_what(run, tmp_path):
  figures = tmp_path / "result.json"
  figures.write_text("{}")
  folder = publish(run, tmp_path / "out", dtype="float32", figures=figures)
  card = (folder / "README.md").read_text()
  digest = saved_stage.load_stage(run, "diffusion").digest
  sums = [file_sha256(path) for path in folder.rglob("*.safetensors")]
  assert len(sums) == 2
  for expected in [
    *("5 of 9, batch 4", digest, "40 latent frames", "Limits", *sums),
    *("--source=synthdance --preset=demo", "66 + 66 parameters, float32"),
    *("`figures.json`", '"learning_rate": 0.5'),
    "1. `python -m dabfusion_jax.train --config=configs/diffusion.py:demo",
    "--config.optimizer.learning_rate=0.5",
  ]:
    assert expected in card, expected
  assert (folder / "figures.json").read_text() == "{}"
  written = "".join(path.read_text() for path in folder.rglob("*.json"))
  assert "clips" in written and "of/mine" not in written + card


def test_the_card_names_the_data_of_each_stage_whatever_the_config_says(run):
  stages = saved_stage.load_both_stages(run)

  def line(one, two):
    pairs = zip(stages, ("latents", "data"), (two, one), strict=True)
    return training_data([_noting(*pair) for pair in pairs])

  films = {"source": "--source=folder --videos=DIR", "num_clips": 20}
  same = line(films | {"content_sha256": "c" * 64}, films)
  assert same.startswith("20 clips") and same.count("folder --videos=DIR") == 1
  assert "synthdance" not in same
  other = line({"num_clips": 1234, "content_sha256": ""}, films)
  assert "preset=demo` (stage 1); 20 clips" in other and "content" not in other
  assert not check_config(RunFolder(run), _noting(stages[0], "latents", films).settings)


def _noting(saved, group, changes):
  part = dataclasses.replace(getattr(saved.settings, group), **changes)
  settings = dataclasses.replace(saved.settings, **{group: part})
  return dataclasses.replace(saved, settings=settings)


def test_a_moving_sample_is_shown_by_the_card_and_a_still_one_is_refused(run, tmp_path):
  colours = ("red", "green", "blue")
  frames = [PIL.Image.new("RGB", (64, 64), colour) for colour in colours]
  moving, still = tmp_path / "dance.gif", tmp_path / "still.png"
  frames[0].save(moving, save_all=True, append_images=frames[1:], duration=80)
  frames[0].save(still)
  plain = publish(run, tmp_path / "plain", dtype="float32")
  assert "![" not in (plain / "README.md").read_text()
  folder = publish(run, tmp_path / "out", dtype="float32", sample=moving)
  assert "](sample.webp)" in (folder / "README.md").read_text()
  with PIL.Image.open(folder / "sample.webp") as written:
    written.load()
    assert written.n_frames == 3 and written.info["duration"] == 80
    assert written.convert("RGB").getpixel((5, 5))[0] > 200
  assert (folder / "sample.webp").stat().st_size < 4096
  for bad, said in ((still, "has 1 frames"), (folder / "README.md", "no GIF or WebP")):
    with pytest.raises(saved_stage.SavedStageError, match=said):
      publish(run, tmp_path / "none", dtype="float32", sample=bad)
  assert not (tmp_path / "none").exists()


def test_two_stages_2_share_one_stage_1(run, tmp_path):
  weights = tmp_path / "weights"
  for name in ("one", "two"):
    publish(run, weights / name, dtype="float16", share_stage1=True)
  assert len(list(weights.rglob("*.safetensors"))) == 3
  stage1 = saved_stage.load_autoencoder_of(weights / "two")
  for name in ("one", "two"):
    stage2 = saved_stage.load_stage(weights / name, "diffusion")
    assert stage2.settings.latents.autoencoder == stage1.digest
  assert "../autoencoder/model.safetensors" in (weights / "one/README.md").read_text()
  alone = publish(weights / "one", tmp_path / "alone", dtype="float32")
  assert saved_stage.load_autoencoder_of(alone).digest == stage1.digest
  with pytest.raises(saved_stage.SavedStageError, match="other weights"):
    publish(run, weights / "three", dtype="float32", share_stage1=True)
  assert not (weights / "three").exists()


def test_a_foreign_stage_1_is_not_published(run, tmp_path):
  mixed = tmp_path / "mixed"
  shutil.copytree(run, mixed)
  shutil.rmtree(mixed / "autoencoder")
  other = saved_stage.load_stage(run.parent / "one", "autoencoder")
  params = jax.tree.map(lambda x: x + 1, other.params)
  digest = saved_stage.digest_of(params, other.batch_stats)
  other = dataclasses.replace(other, params=params, digest=digest)
  saved_stage.save_stage(other, mixed / "autoencoder")
  with pytest.raises(saved_stage.SavedStageError, match="not the one"):
    publish(mixed, tmp_path / "out", dtype="float32")
  assert not (tmp_path / "out").exists()


def test_a_changed_byte_is_noticed(run, tmp_path):
  folder = publish(run, tmp_path / "out", dtype="float16")
  path = folder / "model.safetensors"
  content = bytearray(path.read_bytes())
  content[-3] ^= 1
  path.write_bytes(content)
  with pytest.raises(saved_stage.SavedStageError, match="damaged.*get the file again"):
    saved_stage.load_stage(folder, "diffusion")
  path.write_bytes(content[:-7])
  with pytest.raises(saved_stage.SavedStageError, match="damaged.*get the file again"):
    saved_stage.load_stage(folder, "diffusion")


def test_weights_that_are_not_finite_are_refused(run, tmp_path):
  saved = saved_stage.load_stage(run.parent / "one", "autoencoder")
  part = sorted(saved.params)[0]
  broken = jax.tree.map(lambda x: x * jnp.nan, saved.params[part])
  params = saved.params | {part: broken}
  digest = saved_stage.digest_of(params, saved.batch_stats)
  saved = dataclasses.replace(saved, params=params, digest=digest)
  saved_stage.save_stage(saved, tmp_path / "out")
  with pytest.raises(saved_stage.SavedStageError, match=f"NaN.*params/{part}"):
    saved_stage.load_stage(tmp_path / "out", "autoencoder")


def test_weights_beyond_float16_are_refused(run, tmp_path):
  large = saved_stage.load_stage(run.parent / "one", "autoencoder")
  params = jax.tree.map(lambda x: x * 1e6, large.params)
  with pytest.raises(saved_stage.SavedStageError, match="float16"):
    saved_stage.round_weights(dataclasses.replace(large, params=params), "float16")


def test_a_run_with_few_of_its_steps_is_reported(run, tmp_path, caplog):
  folder = publish(run, tmp_path / "out", dtype="float32")
  with caplog.at_level(logging.WARNING):
    saved_stage.load_stage(folder, "diffusion")
    assert "5 of" not in caplog.text  # 5 of 9
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_steps": 100}))
    saved_stage.load_stage(folder, "diffusion")
  assert "was trained for 5 of 100 steps" in caplog.text


@pytest.mark.parametrize("motion", ["found", "true", "true, by its joints"])
def test_a_stage_1_that_makes_the_same_latents_is_published_and_no_other(
  run, tmp_path, motion
):
  is_true = motion != "found"
  stage1 = saved_stage.load_stage(run.parent / "one", "autoencoder")
  if is_true:
    stage2 = saved_stage.load_stage(run, "diffusion")
    settings = _with_latents(stage2.settings, "true_motion", True)
    if motion != "true":
      joints = dataclasses.replace(settings.joints, weight=1.0)
      settings = dataclasses.replace(stage2.settings, joints=joints)
    run = tmp_path / "run"
    saved_stage.save_stage(dataclasses.replace(stage2, settings=settings), run)
    saved_stage.save_stage(stage1, run / "autoencoder")
  better = _changed(stage1, "decoder")
  saved_stage.save_stage(better, tmp_path / "better")
  saved_stage.save_stage(_changed(stage1, "encoder"), tmp_path / "other")
  out = tmp_path / "out"
  publish(run, out, dtype="float32", stage1=tmp_path / "better")
  stage2, found = saved_stage.load_both_stages(out)
  assert found.digest == better.digest == stage2.settings.latents.autoencoder
  what = "its encoder" if is_true else "more than its decoder"
  with pytest.raises(saved_stage.SavedStageError, match=f"differs in {what}"):
    publish(run, tmp_path / "out2", dtype="float32", stage1=tmp_path / "other")
  assert not (tmp_path / "out2").exists()
  saved_stage.save_stage(_changed(stage1, "detector"), tmp_path / "moved")
  again = functools.partial(publish, run, tmp_path / "out3", dtype="float32")
  if is_true:
    again(stage1=tmp_path / "moved")
    return
  with pytest.raises(saved_stage.SavedStageError, match="more than its decoder"):
    again(stage1=tmp_path / "moved")


def _with_latents(settings, what, value):
  latents = dataclasses.replace(settings.latents, **{what: value})
  return dataclasses.replace(settings, latents=latents)


def _changed(saved, part):
  changed = jax.tree.map(lambda x: x + 1, saved.params[part])
  params = saved.params | {part: changed}
  digest = saved_stage.digest_of(params, saved.batch_stats)
  return dataclasses.replace(saved, params=params, digest=digest)


def test_bundled_weights_are_found_by_name(run, tmp_path, monkeypatch):
  monkeypatch.setattr(importlib.resources, "files", lambda package: tmp_path)
  with pytest.raises(
    saved_stage.SavedStageError, match="without weights.*--checkpoint"
  ):
    saved_stage.shipped()
  with pytest.raises(saved_stage.SavedStageError, match="'dance'.*dance_e"):
    saved_stage.shipped("dance")
  folder = tmp_path / "demo_weights" / "dance_b"
  publish(run, folder, dtype="float16", share_stage1=True)
  assert saved_stage.shipped("dance_b") == folder


def test_bundled_weights_are_whole_and_small():
  try:
    folders = [saved_stage.shipped(name) for name in saved_stage.SHIPPED]
  except saved_stage.SavedStageError as error:
    pytest.skip(str(error))
  weights = folders[0].parent
  assert sum(p.stat().st_size for p in weights.rglob("*") if p.is_file()) <= 16e6
  assert len(list(weights.rglob("*.safetensors"))) == 2 + len(folders)
  for folder in folders:
    stage2 = saved_stage.load_stage(folder, "diffusion")
    stage1 = saved_stage.load_autoencoder_of(folder)
    assert stage2.settings.latents.autoencoder == stage1.digest
    card = (folder / "README.md").read_text()
    assert stage2.digest in card
    if folder.name != "people_e":  # whose two data sets were told apart by hand
      assert f"** {training_data([stage2, stage1])}\n" in card


def test_a_folder_that_is_no_run_is_refused(tmp_path):
  with pytest.raises(saved_stage.SavedStageError, match="neither the workdir"):
    publish(tmp_path, tmp_path / "out", dtype="float32")
  assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("published", [False, True])
def test_warm_start_takes_the_parts_asked_for(run, tmp_path, published):
  folder = publish(run, tmp_path / "out", dtype="float32") if published else run
  saved = saved_stage.load_stage(folder, "diffusion")
  fresh = _state(7)
  state = make_warm_start(saved, ("encoder",), folder)(fresh)
  lent = saved_stage.load_stage(run, "diffusion")
  for tree in (state.params, state.ema_params):
    assert_trees_equal(tree["encoder"], lent.params["encoder"])
  assert_trees_equal(state.params["decoder"], fresh.params["decoder"])
  assert_trees_equal(state.batch_stats, lent.batch_stats)
  assert_trees_equal(state.opt_state, fresh.opt_state)
  everything = make_warm_start(saved, (), folder)(fresh)
  assert_trees_equal(everything.params, lent.params)
  # Both are given up to the training step: XLA refuses one buffer twice.
  donate = jax.jit(
    lambda *trees: jax.tree.map(jnp.negative, trees), donate_argnums=(0, 1)
  )
  donate(everything.params, everything.ema_params)


def test_a_warm_start_keeps_nothing_on_a_device(run):
  before = len(jax.live_arrays())
  saved = saved_stage.load_stage(run, "diffusion")
  initialise = make_warm_start(saved, (), run)
  del saved
  assert len(jax.live_arrays()) == before
  initialise(_state(7))


def test_warm_start_names_what_does_not_fit(run):
  saved = saved_stage.load_stage(run, "diffusion")
  fresh = _state(7)
  with pytest.raises(WarmStartError, match="'head'.*decoder.*encoder"):
    make_warm_start(saved, ("head",), run)(fresh)
  fresh.params["decoder"]["kernel"] = jnp.zeros((4, 9))
  with pytest.raises(WarmStartError, match=r"decoder/kernel .*\(4, 9\).*\(4, 8\)"):
    make_warm_start(saved, (), run)(fresh)


def test_commands_of_earlier_runs_are_published_without_their_folders(run, tmp_path):
  saved = saved_stage.load_stage(run, "diffusion")
  begun = dataclasses.replace(saved.settings, init_from="/home/ann/secret/one")
  history = history_of(dataclasses.replace(saved, settings=begun))
  child = tmp_path / "child"
  shutil.copytree(run, child)
  write_config(RunFolder(child), dataclasses.replace(saved.settings, history=history))
  folder = publish(child, tmp_path / "out", dtype="float32")
  for name in ("README.md", "config.json"):
    text = (folder / name).read_text()
    assert "--config.init_from=one" in text and "secret" not in text


def test_the_card_of_a_warm_started_run_lists_all_commands(run, tmp_path):
  saved = saved_stage.load_stage(run, "diffusion")
  settings = dataclasses.replace(
    saved.settings, history=history_of(saved), init_from="runs/two", num_steps=7
  )
  child = tmp_path / "child"
  shutil.copytree(run, child)
  write_config(RunFolder(child), settings)
  card = (publish(child, tmp_path / "out", dtype="float32") / "README.md").read_text()
  first, second = (line for line in card.splitlines() if "dabfusion_jax.train" in line)
  assert first.startswith("1. ") and first.endswith("step 5")
  assert "--config.num_steps=9" in first and "init_from" not in first
  assert second.startswith("2. ") and "--config.init_from=runs/two" in second
