"""Checkpoints: damage, leftovers, a full disk, other meshes, inference."""

import errno
import os
import sys
import threading
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from orbax.checkpoint import v1 as ocp
from toy_stage import assert_trees_equal

from dabfusion_jax.storage import checkpoint_files
from dabfusion_jax.storage.checkpointing import (
  CheckpointError,
  Checkpoints,
  load_params,
)
from dabfusion_jax.training.state import TrainState


class Counter:
  """The smallest iterator with a position."""

  def __init__(self, position=0):
    self.position = position

  def get_state(self):
    return {"position": self.position}

  def set_state(self, state):
    self.position = state["position"]


def make_state(step):
  # Random, so that compression leaves something to damage.
  params = {"dense": {"kernel": jax.random.normal(jax.random.key(step), (64, 32))}}
  opt_state = ((), {"mu": params, "count": jnp.int32(step)})
  ema_params = jax.tree.map(lambda x: x + 0.5, params)
  return TrainState(
    jnp.int32(step), params, {"mean": jnp.ones(4)}, opt_state, ema_params
  )


def abstract_like(state, sharding=None):
  sharding = sharding or jax.sharding.SingleDeviceSharding(jax.devices()[0])
  return jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), state
  )


def write_checkpoints(workdir, steps, keep=3):
  with Checkpoints(workdir, keep) as checkpoints:
    for step in steps:
      checkpoints.save(step, make_state(step), Counter(10 * step), loss=1.0)


def restore(workdir, sharding=None):
  """Returns (state, position) as a resumed run would start."""
  batches = Counter()
  with Checkpoints(workdir, keep=3) as checkpoints:
    state = checkpoints.restore(abstract_like(make_state(0), sharding), batches)
  return state, batches.position


def truncate_largest_file(folder):
  path = max((p for p in folder.rglob("*") if p.is_file()), key=os.path.getsize)
  path.write_bytes(path.read_bytes()[: os.path.getsize(path) // 20])


def test_fresh_workdir_restores_nothing(tmp_path):
  assert restore(tmp_path) == (None, 0)


def test_state_and_position_come_back_together_and_old_ones_go(tmp_path):
  write_checkpoints(tmp_path, [1, 2, 3], keep=2)
  assert sorted(os.listdir(tmp_path / "checkpoints")) == ["2", "3"]
  state, position = restore(tmp_path)
  assert_trees_equal(state, make_state(3))
  assert position == 30


def test_restore_onto_another_mesh_changes_no_bit(tmp_path):
  write_checkpoints(tmp_path, [1])
  for shape in ((8,), (2,)):
    mesh = jax.make_mesh(shape, ("x",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = {2: jax.P("x"), 1: jax.P(), 0: jax.P()}
    abstract = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(
        x.shape,
        x.dtype,
        sharding=jax.NamedSharding(mesh, spec[x.ndim]),  # noqa: B023
      ),
      make_state(0),
    )
    with Checkpoints(tmp_path, keep=3) as checkpoints:
      state = checkpoints.restore(abstract, Counter())
    assert_trees_equal(state, make_state(1))
    kernel = state.params["dense"]["kernel"]
    assert len(kernel.addressable_shards) == shape[0]
    assert kernel.addressable_shards[0].data.shape == (64 // shape[0], 32)


@pytest.mark.parametrize("damage", ["truncated", "no_metadata", "no_data_position"])
def test_damaged_newest_falls_back_to_the_one_before(tmp_path, damage, caplog):
  write_checkpoints(tmp_path, [1, 2])
  newest = tmp_path / "checkpoints" / "2"
  if damage == "truncated":
    truncate_largest_file(newest / "state")
  elif damage == "no_metadata":
    (newest / "state" / "_METADATA").unlink()
  else:
    (newest / "data" / "process_0-of-1.json").unlink()
  if damage != "no_data_position":  # which inference does not need
    assert load_params(tmp_path)[2] == 1
    caplog.clear()
  state, position = restore(tmp_path)
  assert_trees_equal(state, make_state(1))
  assert position == 10
  assert len(caplog.messages) == 1 and "checkpoint 2" in caplog.messages[0]
  # Set aside, so that the step can be saved again.
  assert os.listdir(tmp_path / "unreadable_checkpoints") == ["2"]
  write_checkpoints(tmp_path, [2])
  assert restore(tmp_path)[1] == 20


@pytest.mark.parametrize("damage", [b"", b'{"train_lo', b"\xff", b"3"])
def test_a_damaged_loss_of_an_old_checkpoint_ends_no_run(tmp_path, damage, caplog):
  write_checkpoints(tmp_path, [1, 2])
  (tmp_path / "checkpoints" / "1" / "metrics" / "metrics").write_bytes(damage)
  with Checkpoints(tmp_path, keep=1, keep_best=1) as checkpoints:
    assert "step 1 is no best" in caplog.text
    checkpoints.save(3, make_state(3), Counter(), loss=2.0)
  assert sorted(os.listdir(tmp_path / "checkpoints")) == ["2", "3"]


def test_nothing_readable_is_one_clear_error(tmp_path):
  write_checkpoints(tmp_path, [1])
  truncate_largest_file(tmp_path / "checkpoints" / "1" / "state")
  with pytest.raises(CheckpointError, match="None of the checkpoints") as error_info:
    restore(tmp_path)
  assert "\n" not in str(error_info.value)
  assert os.listdir(tmp_path / "checkpoints") == ["1"]
  with pytest.raises(CheckpointError, match="Cannot read checkpoint 1"):
    load_params(tmp_path)


def test_leftovers_of_a_killed_save_are_removed_and_never_restored(tmp_path):
  write_checkpoints(tmp_path, [1])
  leftover = tmp_path / "checkpoints" / "2.orbax-checkpoint-tmp"
  leftover.mkdir()
  (leftover / "half").write_text("half")
  assert checkpoint_files.latest_step(tmp_path) == 1
  assert restore(tmp_path)[1] == 10
  assert os.listdir(tmp_path / "checkpoints") == ["1"]


def fail_in(patch, method, error):
  """Makes orbax's `method` do its work and then report `error`."""
  original = getattr(ocp.training.Checkpointer, method)

  def failing(self, *args, **kwargs):
    original(self, *args, **kwargs)
    raise error

  patch.setattr(ocp.training.Checkpointer, method, failing)


@pytest.mark.parametrize("method", ["save_checkpointables_async", "close"])
@pytest.mark.parametrize(
  "error",
  [
    OSError(errno.ENOSPC, "No space left on device"),
    # What orbax raises when its storage library meets a full disk.
    ValueError("RESOURCE_EXHAUSTED: Failed to write 942312 bytes to file 20: No space "
               "left on device [os_error_code='28']"),
  ],
)  # fmt: skip
def test_full_disk_is_one_line(tmp_path, monkeypatch, method, error):
  write_checkpoints(tmp_path, [1])
  fail_in(monkeypatch, method, error)
  with pytest.raises(CheckpointError, match="the disk is full .*is safe") as error_info:
    write_checkpoints(tmp_path, [2])
  assert "\n" not in str(error_info.value)


def test_an_error_names_the_step_whose_save_failed_not_the_next(tmp_path, monkeypatch):
  with Checkpoints(tmp_path, keep=2) as checkpoints:
    checkpoints.save(2, make_state(2), Counter(2), 1.0)
    checkpoints.wait()
    checkpoints.save(4, make_state(4), Counter(4), 1.0)
    with monkeypatch.context() as patch:
      fail_in(patch, "wait", OSError(errno.ENOSPC, "No space left on device"))
      with pytest.raises(CheckpointError, match="Cannot save step 4 "):
        checkpoints.save(6, make_state(6), Counter(6), 1.0)


def test_only_the_pages_of_abandoned_writes_are_kept_quiet(tmp_path, monkeypatch):
  shown = []
  monkeypatch.setattr(
    sys, "unraisablehook", lambda error: shown.append(error.exc_value)
  )
  before, others = sys.unraisablehook, ValueError("a value")
  with Checkpoints(tmp_path, keep=2):
    for error in (RuntimeError("Event loop is closed"), others):
      sys.unraisablehook(types.SimpleNamespace(exc_value=error))
  assert shown == [others] and sys.unraisablehook is before


def test_error_on_its_way_is_not_hidden_by_a_failing_save(
  tmp_path, monkeypatch, caplog
):
  fail_in(monkeypatch, "close", OSError(errno.ENOSPC, "No space left on device"))
  with pytest.raises(FloatingPointError), Checkpoints(tmp_path, keep=1):
    raise FloatingPointError("loss is nan")
  assert "the disk is full" in caplog.text


def test_position_serves_another_number_of_processes(tmp_path):
  write_checkpoints(tmp_path, [1])
  data = tmp_path / "checkpoints" / "1" / "data"
  text = (data / "process_0-of-1.json").read_text()
  (data / "process_0-of-1.json").unlink()
  for index in range(2):
    (data / f"process_{index}-of-2.json").write_text(text)
  assert restore(tmp_path)[1] == 10


def test_load_params_returns_the_average_or_the_parameters(tmp_path):
  write_checkpoints(tmp_path, [1, 2])
  params, batch_stats, step = load_params(tmp_path)
  assert_trees_equal((params, step), (make_state(2).ema_params, 2))
  assert_trees_equal(batch_stats, {"mean": np.ones(4)})
  assert isinstance(batch_stats["mean"], jax.Array)
  params, _, step = load_params(tmp_path, ema=False, step=1)
  assert_trees_equal((params, step), (make_state(1).params, 1))


def test_load_params_names_what_is_missing(tmp_path):
  with pytest.raises(CheckpointError, match="No checkpoint in .*training workdir"):
    load_params(tmp_path)
  assert not (tmp_path / "checkpoints").exists()
  write_checkpoints(tmp_path, [1, 2])
  with pytest.raises(CheckpointError, match=r"No checkpoint of step 5 .* \[1, 2\]"):
    load_params(tmp_path, step=5)


def test_the_best_stays_beside_the_newest_after_a_resume_as_well(tmp_path):
  nan, inf = float("nan"), float("inf")
  losses = {1: 3.0, 2: 1.0, 3: 2.0, 4: nan, 5: 0.5, 6: nan, 7: 4.0, 8: inf, 9: 9.0}
  for steps in ([1, 2, 3], [4, 5, 6, 7, 8], [9]):
    with Checkpoints(tmp_path, keep=1, keep_best=1) as checkpoints:
      for step in steps:
        checkpoints.save(step, make_state(step), Counter(), losses[step])
    best = min((s for s in losses if s <= steps[-1]), key=losses.get)
    assert sorted(os.listdir(tmp_path / "checkpoints")) == [str(best), str(steps[-1])]


def test_saves_leave_neither_threads_nor_files_open(tmp_path):
  """Else a training that saves often ends at the limit of open files."""
  left = []
  with Checkpoints(tmp_path, keep=1) as checkpoints:
    for step in range(1, 6):
      checkpoints.save(step, {"x": jnp.zeros(3)}, Counter(), 0.0)
      checkpoints.wait()
      left.append((threading.active_count(), len(os.listdir("/proc/self/fd"))))
  assert left[-1] == left[1], left


def test_a_training_loss_does_not_compete_with_held_out_ones(tmp_path):
  steps = lambda: checkpoint_files.complete_steps(tmp_path / "checkpoints")
  for name, losses in (("train_loss", (0.1, 0.2)), ("eval_loss", (1.2, 1.1, 1.3))):
    with Checkpoints(tmp_path, keep=1, keep_best=1, best_by=name) as checkpoints:
      for loss in losses:
        step = 1 + max(steps(), default=0)
        checkpoints.save(step, {"x": jnp.zeros(3)}, Counter(), loss)
        checkpoints.wait()
  assert steps() == [4, 5]  # 1.1, and the newest
