"""Meshes, the FSDP rule, and equality of one device with many."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_stage import ToyStage, toy_dataset, toy_optimizer, toy_train

from dabfusion_jax.parallel import sharding
from dabfusion_jax.training.state import abstract_state, create_state, make_init


def mesh_of(data, fsdp):
  return sharding.make_mesh((("data", data), ("fsdp", fsdp)))


def test_minus_one_takes_the_remaining_devices():
  assert dict(mesh_of(-1, 2).shape) == {"data": 4, "fsdp": 2}
  assert dict(mesh_of(1, -1).shape) == {"data": 1, "fsdp": 8}
  assert mesh_of(1, 1).size == 1


@pytest.mark.parametrize("sizes", [(-1, 3), (-1, 16), (4, 4), (-1, -1), (0, 1)])
def test_mesh_that_does_not_fit_is_refused(sizes):
  with pytest.raises(ValueError, match="mesh"):
    mesh_of(*sizes)


def test_unknown_axis_names_are_refused():
  with pytest.raises(ValueError, match="mesh axes must be"):
    sharding.make_mesh((("data", -1), ("model", 1)))


@pytest.mark.parametrize(
  ("shape", "axis"),
  [((3, 3, 8, 16), 3), ((16, 8), 0), ((8, 8), 1), ((3, 5), None), ((), None)],
)
def test_largest_divisible_axis_is_sharded(shape, axis):
  assert sharding.fsdp_axis(shape, 4) == axis


def test_state_is_born_sharded_and_small_arrays_stay_whole():
  mesh = mesh_of(2, 4)
  abstract = {
    "large": jax.ShapeDtypeStruct((3, 64), jnp.float32),
    "odd": jax.ShapeDtypeStruct((33, 7), jnp.float32),
    "small": jax.ShapeDtypeStruct((8,), jnp.float32),
  }
  specs = jax.tree.map(
    lambda s: s.spec, sharding.state_shardings(abstract, mesh, min_bytes=256)
  )
  assert specs == {"large": jax.P(None, "fsdp"), "odd": jax.P(), "small": jax.P()}

  batch_spec = sharding.global_batch_spec(next(iter(toy_dataset())), mesh)
  init = make_init(ToyStage(), toy_optimizer().tx, batch_spec)
  key = jax.random.key(0)
  state_spec = abstract_state(init, key, mesh, min_bytes=0)
  state = create_state(init, key, state_spec)
  kernel = state.opt_state[0].mu["out"]["kernel"]
  assert {s.data.shape for s in kernel.addressable_shards} == {(32, 1)}
  assert state.step.sharding.is_fully_replicated


def test_batch_that_does_not_divide_is_refused_with_the_cure():
  with pytest.raises(ValueError, match="batch_size 12 .* 8 devices .*multiple of 8"):
    sharding.global_batch_spec({"x": np.zeros((12, 3))}, mesh_of(-1, 2))
  with pytest.raises(ValueError, match="share their first axis"):
    sharding.global_batch_spec({"x": np.zeros(8), "y": np.zeros(4)}, mesh_of(-1, 1))


def test_batch_is_split_over_both_axes():
  mesh = mesh_of(2, 4)
  batch = {"x": np.arange(16.0).reshape(16, 1)}
  x = sharding.to_global_batch(batch, sharding.batch_sharding(mesh))["x"]
  assert {s.data.shape for s in x.addressable_shards} == {(2, 1)}
  np.testing.assert_array_equal(x, batch["x"])
  np.testing.assert_array_equal(sharding.host_copy(x, mesh), batch["x"])


def test_one_device_equals_eight(tmp_path):
  """Parameters, moments, EMA and BatchNorm's statistics, which are of the whole batch.

  Only the order of float32 sums differs: relative 1e-4 after four steps of Adam. With
  statistics per device the difference would be of the order of 0.1.
  """
  one = toy_train(tmp_path / "one")
  many = toy_train(tmp_path / "many", mesh=(("data", 2), ("fsdp", 4)))
  kernel = many.params["out"]["kernel"]
  assert kernel.addressable_shards[0].data.shape == (32, 1)
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6), many, one
  )


def test_run_moves_to_another_mesh(tmp_path):
  """Two steps on one device and two on eight are four on one."""
  straight = toy_train(tmp_path / "straight")
  toy_train(tmp_path / "moved", num_steps=2)
  moved = toy_train(tmp_path / "moved", mesh=(("data", 2), ("fsdp", 4)))
  assert len(moved.params["out"]["kernel"].devices()) == 8
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6),
    moved,
    straight,
  )
