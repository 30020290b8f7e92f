"""What the accelerator benchmark computes with, on toy programs."""

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.accelerator_tasks import difference
from benchmarks.program_times import (
  ProgramTimes,
  compile_program,
  empty_cache,
  fill,
  peak_gib,
  time_program,
  trace_program,
)
from dabfusion_jax.parallel import hardware, sharding
from dabfusion_jax.parallel.hardware import Chip
from launch.programs import Program


def _mesh(index: int = 0) -> jax.sharding.Mesh:
  return sharding.mesh_of([jax.local_devices()[index]], (("data", 1), ("fsdp", 1)))


def _toy_step(mesh: jax.sharding.Mesh) -> Program:
  """Returns a step that needs the state of the step before: it donates its own."""

  def step(state, batch):
    state = {"kernel": state["kernel"] - 0.1 * (batch @ state["kernel"])}
    return state, {"loss": jnp.sum(state["kernel"] ** 2)}

  square = jax.ShapeDtypeStruct(
    (8, 8), jnp.float32, sharding=jax.NamedSharding(mesh, jax.P())
  )
  function = jax.jit(step, donate_argnums=0)
  return Program("toy step", function, ({"kernel": square}, square), 4, 1)


def _time(num_calls: int) -> ProgramTimes:
  program = _toy_step(_mesh())
  traced = trace_program(program, _mesh())
  compiled = compile_program(traced, _mesh())
  return time_program(program, traced, compiled, "float32", _mesh(), num_calls)


def test_a_training_step_is_timed_with_the_state_that_it_returned(monkeypatch):
  rates = Chip(1e9, 1.0, 1.0, 1.0)
  monkeypatch.setattr(hardware, "chip_of", lambda device: rates)
  row = _time(num_calls=3)
  assert row.is_finite
  assert row.milliseconds > 0
  assert row.compile_seconds > 0
  assert row.trace_seconds > 0
  assert row.gflop >= 2 * 8**3 / 1e9
  np.testing.assert_allclose(
    row.flop_utilisation, row.gflop * 1e9 / (row.milliseconds / 1e3) / 1e9
  )


def test_without_a_published_peak_no_share_of_it_is_computed():
  row = _time(num_calls=1)
  assert row.flop_utilisation is None


def test_memory_counts_what_a_program_holds_in_between():
  # Its argument and its result are 8 bytes; at least a factor of 1 MiB must be there.
  between = lambda x: jnp.sin(x + jnp.eye(512)) @ jnp.cos(x + jnp.ones((512, 512)))
  program = jax.jit(lambda x: between(x).sum())
  assert peak_gib(program.lower(1.0).compile()) * 2**20 > 1024  # KiB


def test_the_cache_of_the_process_is_the_same_after_a_measurement():
  before = jax.config.jax_compilation_cache_dir
  with empty_cache():
    assert jax.config.jax_compilation_cache_dir != before
  assert jax.config.jax_compilation_cache_dir == before


def test_numbers_are_the_same_on_every_device_and_optimizers_begin_at_zero():
  def filled(index):
    where = jax.NamedSharding(_mesh(index), jax.P())
    leaf = jax.ShapeDtypeStruct((3, 5), jnp.float32, sharding=where)
    tree = {"opt_state": {"kernel": leaf}, "params": {"kernel": leaf}, "z": leaf}
    return jax.device_get(fill(tree))

  first, second = filled(0), filled(1)
  jax.tree.map(np.testing.assert_array_equal, first, second)
  assert not first["opt_state"]["kernel"].any()
  assert first["params"]["kernel"].std() > 0
  assert first["z"].min() >= 0


def test_a_difference_is_relative_and_nan_is_never_small():
  one, other = np.array([1.0, 100.0]), np.array([2.0, 100.0])
  assert difference(one, other) == 0.01
  assert not difference(np.array([np.nan]), np.array([1.0])) <= 1e-3
