"""A run may lie below a folder whose name looks like a pattern."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_stage import toy_dataset

from dabfusion_jax.storage import checkpointing
from dabfusion_jax.storage.checkpointing import Checkpoints

STATE = {"ema_params": {"w": jnp.arange(6.0)}, "batch_stats": {}, "step": jnp.int32(1)}


def spec_of(x):
  return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)


def save(workdir):
  """Saves `STATE` as step 1."""
  with Checkpoints(workdir, keep=1) as checkpoints:
    checkpoints.save(1, STATE, iter(toy_dataset()), 0.0)


def check(workdir):
  """Checks that step 1 can be read, for inference and to resume from it."""
  params, _, step = checkpointing.load_params(workdir)
  assert step == 1
  np.testing.assert_array_equal(params["w"], np.arange(6.0))
  with Checkpoints(workdir, keep=1) as checkpoints:
    abstract = jax.tree.map(spec_of, STATE)
    restored = checkpoints.restore(abstract, iter(toy_dataset()))
  np.testing.assert_array_equal(restored["ema_params"]["w"], np.arange(6.0))


def test_a_run_that_could_not_be_read_before_is_read(tmp_path, monkeypatch):
  folder = tmp_path / "[old]" / "run"
  with monkeypatch.context() as patch:
    patch.setattr(checkpointing, "plain_path", lambda path: path)
    save(folder)
  assert not (folder / "checkpoints" / "1" / "state" / "manifest.ocdbt").exists()
  shutil.copytree(folder, tmp_path / "plain")
  check(tmp_path / "plain")
  check(folder)


@pytest.mark.parametrize("name", ["[2026] dance", "back\\slash", "a*b"])
def test_a_run_may_have_any_name(tmp_path, name):
  save(tmp_path / name / "run")
  check(tmp_path / name / "run")
