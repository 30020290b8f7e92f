"""From a run to a folder to give away, and from there into a new run."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_stage import assert_trees_equal

from dabfusion_jax import trained
from dabfusion_jax.checkpointing import Checkpoints
from dabfusion_jax.publish import publish, sha256
from dabfusion_jax.train_state import TrainState
from dabfusion_jax.warm_start import WarmStartError, make_warm_start


class _Position:
  def get_state(self):
    return {}


def _params(seed):
  keys = jax.random.split(jax.random.key(seed), 2)
  return {
    "encoder": {"kernel": jax.random.normal(keys[0], (8, 4))},
    "decoder": {"kernel": jax.random.normal(keys[1], (4, 8))},
  }


def _state(seed):
  params = _params(seed)
  stats = {"encoder": {"mean": jnp.full(4, float(seed))}}
  average = jax.tree.map(lambda x: x + 1, params)
  return TrainState(jnp.int32(5), params, stats, {"mu": params}, average)


def _write_run(folder, stage, seed):
  with Checkpoints(folder, keep=1) as checkpoints:
    checkpoints.save(5, _state(seed), _Position(), loss=1.0)
  config = {
    "stage": stage,
    "variant": "demo",
    "num_steps": 9,
    "batch_size": 4,
    "ema_decay": 0.9,
    "data": {
      "source": "synthdance",
      "preset": "demo",
      "num_frames": 40,
      "fps": 10,
      "frame_size": 64,
    },
    "model": {},
    "latents": {
      "fps": 10,
      "autoencoder": "d" * 64,
      "data": "c" * 64,
      "encoder": {"name": "spectral"},
    },
  }
  (folder / "config.json").write_text(json.dumps(config))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """A stage-2 workdir with its stage 1, as a training leaves it."""
  folder = tmp_path_factory.mktemp("runs")
  _write_run(folder / "one", "autoencoder", 1)
  _write_run(folder / "two", "diffusion", 2)
  stage1 = trained.load_trained(folder / "one", "autoencoder")
  trained.publish(stage1, folder / "two" / trained.AUTOENCODER)
  return folder / "two"


@pytest.mark.parametrize("float16", [False, True])
def test_published_weights_are_those_of_the_run(run, tmp_path, float16):
  before = trained.load_trained(run, "diffusion")
  folder = publish(run, tmp_path / "out", float16)
  after = trained.load_trained(folder, "diffusion")
  if float16:
    jax.tree.map(
      lambda x, y: np.testing.assert_allclose(x, y, rtol=2**-11, atol=1e-7),
      after.params,
      before.params,
    )
  else:
    assert_trees_equal(after.params, before.params)
    assert after.digest == before.digest
  assert trained.load_autoencoder_of(folder).step == 5
  publish(run, folder, float16)  # again: nothing to do


def test_model_card_says_what_and_from_what(run, tmp_path):
  folder = publish(run, tmp_path / "out", float16=False)
  card = (folder / "README.md").read_text()
  digest = trained.load_trained(run, "diffusion").digest
  sums = [sha256(path) for path in folder.rglob("*.safetensors")]
  assert len(sums) == 2
  for expected in [
    *("5 of 9, batch 4", digest, "40 latent frames at 10 fps", "Limits", *sums),
    "python -m dabfusion_jax.train --config=configs/diffusion.py:demo",
  ]:
    assert expected in card


def test_a_folder_that_is_no_run_is_refused(tmp_path):
  with pytest.raises(trained.TrainedError, match="neither the workdir"):
    publish(tmp_path, tmp_path / "out", float16=False)
  assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("published", [False, True])
def test_warm_start_takes_the_parts_asked_for(run, tmp_path, published):
  folder = publish(run, tmp_path / "out", float16=False) if published else run
  fresh = _state(7)
  state = make_warm_start(folder, "diffusion", ("encoder",))(fresh)
  lent = trained.load_trained(run, "diffusion")
  for tree in (state.params, state.ema_params):
    assert_trees_equal(tree["encoder"], lent.params["encoder"])
  assert_trees_equal(state.params["decoder"], fresh.params["decoder"])
  assert_trees_equal(state.batch_stats, lent.batch_stats)
  assert_trees_equal(state.opt_state, fresh.opt_state)
  everything = make_warm_start(folder, "diffusion", ())(fresh)
  assert_trees_equal(everything.params, lent.params)


def test_warm_start_names_what_does_not_fit(run):
  fresh = _state(7)
  with pytest.raises(WarmStartError, match="'head'.*decoder.*encoder"):
    make_warm_start(run, "diffusion", ("head",))(fresh)
  fresh.params["decoder"]["kernel"] = jnp.zeros((4, 9))
  with pytest.raises(WarmStartError, match=r"decoder/kernel .*\(4, 9\).*\(4, 8\)"):
    make_warm_start(run, "diffusion", ())(fresh)
