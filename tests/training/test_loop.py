"""The loop: resuming, stopping, refusing, reporting."""

import dataclasses
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_stage import (
  LOOP,
  OPTIMIZER,
  ToyStage,
  assert_trees_equal,
  read_history,
  toy_dataset,
  toy_train,
)

from dabfusion_jax.storage.checkpoint_files import latest_step
from dabfusion_jax.storage.checkpointing import load_params
from dabfusion_jax.storage.run_config import check_config, keep_origin, write_config
from dabfusion_jax.storage.run_folder import RunFolder
from dabfusion_jax.training.health import InvalidMetricError
from dabfusion_jax.training.loop import signal_watch
from dabfusion_jax.training.state import TrainState
from dabfusion_jax.training.step import mean_gradients
from data_pipeline.errors import UserError


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
  """Trains four uninterrupted steps, saved at each: (workdir, final state)."""
  workdir = tmp_path_factory.mktemp("straight")
  return workdir, toy_train(workdir, checkpoint_every=1, keep_checkpoints=4)


def test_resume_equals_straight_run(straight, tmp_path):
  toy_train(tmp_path, num_steps=2)
  # What was saved while later steps reused its memory is what a shorter run ends with.
  assert_trees_equal(
    load_params(tmp_path, ema=False, step=2),
    load_params(straight[0], ema=False, step=2),
  )
  assert_trees_equal(toy_train(tmp_path), straight[1])
  assert read_history(tmp_path) == read_history(straight[0])


def test_resume_continues_with_the_next_data_and_noise(tmp_path):
  class Logging(ToyStage):
    def loss(self, params, batch_stats, frozen, batch, key, train=True):
      loss, (stats, metrics) = super().loss(params, batch_stats, frozen, batch, key)
      drawn = {"first": batch["image"][0, 0, 0, 0], "noise": jax.random.uniform(key)}
      return loss, (stats, metrics | drawn)

  toy_train(tmp_path, stage=Logging(), num_steps=2)
  toy_train(tmp_path, stage=Logging())
  history = read_history(tmp_path)
  batches = iter(toy_dataset())
  expected = [float(next(batches)["image"][0, 0, 0, 0]) for _ in range(4)]
  assert [line["first"] for line in history] == expected
  assert len({line["noise"] for line in history}) == 4  # never the same draw twice


def test_a_killed_run_resumes_as_if_it_had_never_been_interrupted(straight, tmp_path):
  script = """
import os, signal, sys
import jax
jax.config.update("jax_platforms", "cpu")
sys.path[:0] = sys.argv[2:]
import toy_stage
class Killed(toy_stage.ToyStage):
  def pictures(self, *args):
    os.kill(os.getpid(), signal.SIGKILL)
toy_stage.toy_train(sys.argv[1], stage=Killed(), picture_every=3, checkpoint_every=1)
"""
  tests = pathlib.Path(__file__).parents[1]
  command = [sys.executable, "-c", script, str(tmp_path), str(tests), str(tests.parent)]
  result = subprocess.run(command, capture_output=True, timeout=600)
  assert result.returncode == -signal.SIGKILL, result.stderr.decode()
  assert latest_step(tmp_path) in (1, 2, 3)
  assert read_history(tmp_path)[-1]["step"] == 3
  assert_trees_equal(toy_train(tmp_path), straight[1])
  assert read_history(tmp_path) == read_history(straight[0])


def test_sigterm_saves_and_exits_with_143(straight, tmp_path):
  class Terminated(ToyStage):
    def pictures(self, *args):
      os.kill(os.getpid(), signal.SIGTERM)
      return super().pictures(*args)

  before = signal.getsignal(signal.SIGTERM)
  with pytest.raises(SystemExit) as exit_info:
    toy_train(tmp_path, stage=Terminated(), checkpoint_every=100)
  assert exit_info.value.code == 143
  assert signal.getsignal(signal.SIGTERM) is before
  assert latest_step(tmp_path) == 3  # the signal came after step 2
  assert_trees_equal(toy_train(tmp_path), straight[1])


@pytest.mark.parametrize("metric", ["loss", "grad_norm"])
def test_run_stops_at_the_first_value_that_is_not_finite(tmp_path, metric):
  class Spoilt(ToyStage):
    def loss(self, params, batch_stats, frozen, batch, key, train=True):
      loss, aux = super().loss(params, batch_stats, frozen, batch, key)
      bad = batch["step"][0] == 3
      if metric == "loss":
        return jnp.where(bad, jnp.inf, loss), aux
      # A finite loss whose gradient is not: the root has no slope at zero.
      root = jnp.sqrt(jnp.where(bad, 0.0 * params["out"]["bias"][0], 1.0))
      return loss + jnp.where(bad, root, 0.0), aux

  class Counted:
    """The toy's data with the number of the batch in it."""

    def __iter__(self):
      self.batches, self.step = iter(toy_dataset()), 0
      return self

    def __next__(self):
      self.step += 1
      return next(self.batches) | {"step": jnp.full(8, self.step).__array__()}

    def get_state(self):
      return {"batches": self.batches.get_state(), "step": self.step}

    def set_state(self, state):
      self.batches.set_state(state["batches"])
      self.step = state["step"]

  with pytest.raises(InvalidMetricError, match=f"{metric} is .* at step 3 .step 2 is"):
    toy_train(tmp_path, stage=Spoilt(), dataset=Counted(), checkpoint_every=1)
  assert latest_step(tmp_path) == 2
  assert [line["step"] for line in read_history(tmp_path)] == [1, 2]


def test_every_report_holds_loss_rate_and_norms(straight):
  history = read_history(straight[0])
  assert [line["step"] for line in history] == [1, 2, 3, 4]
  for line in history:
    assert {"loss", "learning_rate", "grad_norm", "update_norm", "param_norm"} <= set(
      line
    )
  assert history[2]["learning_rate"] == pytest.approx(1e-2)
  assert history[3]["learning_rate"] == pytest.approx(1e-3)  # milestone at 3


def test_reports_and_pictures_come_at_their_intervals_and_at_the_end(tmp_path):
  toy_train(tmp_path, num_steps=5, log_every=2, picture_every=3, checkpoint_every=4)
  assert [line["step"] for line in read_history(tmp_path)] == [2, 4, 5]
  pictures = sorted(path.name for path in (tmp_path / "pictures").iterdir())
  assert pictures == ["shade_0000003.png", "shade_0000005.png"]
  toy_train(tmp_path / "none", num_steps=2, picture_every=0)
  assert not list((tmp_path / "none").glob("pictures/*"))
  assert sorted(os.listdir(tmp_path / "checkpoints")) == ["4", "5"]


def test_a_finished_run_says_so_and_changes_nothing(straight, caplog):
  workdir, state = straight
  before = {path: path.stat().st_mtime_ns for path in workdir.rglob("*")}
  caplog.set_level("INFO", logger="absl")
  again = toy_train(workdir, checkpoint_every=1, keep_checkpoints=4)
  assert "is finished; raise num_steps=4 to train on" in caplog.text
  assert_trees_equal(again, state)
  assert {path: path.stat().st_mtime_ns for path in workdir.rglob("*")} == before


def test_resume_with_other_settings_is_refused_by_name(straight):
  workdir, _ = straight
  optimizer = dataclasses.replace(OPTIMIZER, b2=0.9)
  with pytest.raises(UserError, match="seed was 0, now 1") as error_info:
    toy_train(workdir, seed=1, num_steps=9, optimizer=optimizer)
  assert "optimizer.b2 was 0.99, now 0.9" in str(error_info.value)
  assert "num_steps" not in str(error_info.value)
  longer = dataclasses.replace(LOOP, num_steps=9, log_every=3)
  assert check_config(RunFolder(workdir), longer) == []


def test_a_run_of_the_other_stage_is_named(straight):
  other = dataclasses.replace(LOOP, stage="diffusion")
  with pytest.raises(UserError, match="holds a run of the stage toy, not diffusion"):
    check_config(RunFolder(straight[0]), other)


def test_a_resume_keeps_where_the_run_began(straight, caplog):
  run = RunFolder(straight[0])
  assert keep_origin(run, LOOP) == LOOP and not caplog.text
  asked = dataclasses.replace(LOOP, init_from="elsewhere", num_steps=9)
  assert keep_origin(run, asked) == dataclasses.replace(LOOP, num_steps=9)
  assert "has begun: init_from changes nothing now" in caplog.text


def test_what_begins_with_a_run_comes_after_its_settings_and_before_a_step(tmp_path):
  seen = []

  def on_begin():
    seen.append(sorted(path.name for path in tmp_path.iterdir()))

  toy_train(tmp_path, num_steps=1, on_begin=on_begin)
  (names,) = seen
  assert "config.json" in names and "metrics.jsonl" not in names
  mesh = (("data", 99), ("fsdp", 1))
  with pytest.raises(UserError, match="mesh"):
    toy_train(tmp_path / "none", mesh=mesh, on_begin=on_begin)
  assert len(seen) == 1 and not (tmp_path / "none").exists()


def test_a_signal_during_the_last_step_loses_nothing_of_it(tmp_path):
  class Data:
    """The toy's data; a signal comes with the last batch."""

    def __iter__(self):
      self.batches, self.count = iter(toy_dataset()), -1  # the first is peeked at
      return self

    def __next__(self):
      self.count += 1
      if self.count == LOOP.num_steps:
        os.kill(os.getpid(), signal.SIGTERM)
      return next(self.batches)

    def get_state(self):
      return self.batches.get_state()

    def set_state(self, state):
      self.batches.set_state(state)

  changes = {"eval_every": 4, "eval_batches": 1}
  toy_train(tmp_path, dataset=Data(), eval_dataset=toy_dataset(), **changes)
  assert "eval/loss" in read_history(tmp_path)[-1]
  assert latest_step(tmp_path) == LOOP.num_steps


def test_a_resume_without_the_settings_of_the_run_is_refused(straight, tmp_path):
  shutil.copytree(straight[0] / "checkpoints", tmp_path / "checkpoints")
  with pytest.raises(UserError, match="checkpoints but no config.json.*put it back"):
    toy_train(tmp_path, seed=1, num_steps=9)
  assert latest_step(tmp_path) == 4


@pytest.mark.parametrize(
  "change",
  [{"gradient_accumulation": 2}, {"max_skipped_steps": 1}, {"spike_grad_norm": 9.0}],
)
def test_resume_with_settings_that_change_learning_is_reported(straight, change):
  name, value = next(iter(change.items()))
  run = RunFolder(straight[0])
  assert check_config(run, LOOP) == []
  expected = f"{name} was {getattr(LOOP, name)!r}, now {value!r}"
  assert check_config(run, dataclasses.replace(LOOP, **change)) == [expected]


def test_a_longer_training_may_decay_later_with_one_warning(tmp_path, caplog):
  def continue_to(num_steps, **changes):
    changes = {"learning_rate": 0.1, "milestones": (1,)} | changes
    optimizer = dataclasses.replace(OPTIMIZER, **changes)
    toy_train(tmp_path, optimizer=optimizer, num_steps=num_steps)

  continue_to(2)
  continue_to(4, milestones=(1, 3))
  rates = [line["learning_rate"] for line in read_history(tmp_path)]
  np.testing.assert_allclose(rates, [0.1, 0.01, 0.01, 0.001], rtol=1e-6)
  (warning,) = [x for x in caplog.messages if "its result will differ" in x]
  assert "optimizer.milestones was [1], now [1, 3]" in warning
  continue_to(5, milestones=(1, 3))
  assert caplog.text.count("its result will differ") == 1
  with pytest.raises(UserError, match="optimizer.b1 was 0.9, now 0.8"):
    continue_to(6, milestones=(1, 3), b1=0.8)


def test_settings_of_a_run_that_never_saved_may_change(tmp_path):
  run = RunFolder(tmp_path)
  write_config(run, dataclasses.replace(LOOP, seed=7))
  assert check_config(run, dataclasses.replace(LOOP, seed=8)) == []


def test_data_that_ends_is_an_error(tmp_path):
  class Short:
    def __iter__(self):
      self.left = 2
      return self

    def __next__(self):
      if not self.left:
        raise StopIteration
      self.left -= 1
      return {"image": jax.numpy.zeros((8, 4, 4, 3)).__array__()}

    def get_state(self):
      return self.left

    def set_state(self, left):
      self.left = left

  with pytest.raises(ValueError, match="ended before step 3"):
    toy_train(tmp_path, dataset=Short())


@pytest.mark.parametrize("change", [{"log_every": 0}, {"ema_decay": 1.0}])
def test_settings_out_of_range_are_refused(change):
  with pytest.raises(ValueError, match=next(iter(change))):
    dataclasses.replace(LOOP, **change)


class Uneven(ToyStage):
  """Its second step is bad."""

  def loss(self, params, batch_stats, frozen, batch, key, train=True):
    loss, aux = super().loss(params, batch_stats, frozen, batch, key)
    bad = jnp.abs(batch["image"][0, 0, 0, 0] - SECOND) < 1e-6
    return jnp.where(bad, jnp.nan, loss), aux


SECOND = [
  next(i)["image"][0, 0, 0, 0] for i in [iter(toy_dataset())] for _ in range(2)
][1]


def test_bad_step_is_skipped_and_counted(tmp_path, caplog):
  one = toy_train(tmp_path, stage=Uneven(), num_steps=1, max_skipped_steps=1)
  one = jax.device_get(one)
  two = toy_train(tmp_path, stage=Uneven(), num_steps=2, max_skipped_steps=1)
  assert_trees_equal(two.replace(step=one.step), one)  # but for the step's number
  assert two.step == 2
  assert "Skipped step 2: loss nan" in caplog.text
  toy_train(tmp_path, stage=Uneven(), num_steps=3, max_skipped_steps=1)
  assert [line["skipped"] for line in read_history(tmp_path)] == [0, 1, 0]
  assert read_history(tmp_path)[1]["loss"] is None


def test_too_many_bad_steps_in_a_row_end_the_run(tmp_path):
  with pytest.raises(
    InvalidMetricError, match="2 consecutive bad steps at step 2 .nothing"
  ):
    toy_train(tmp_path, spike_grad_norm=1e-6, max_skipped_steps=1)


def test_parts_of_a_batch_give_the_gradient_of_the_whole():
  class Plain(ToyStage):
    """Linear, without noise and BatchNorm: then the two are the same."""

    frozen = {}

    def loss(self, params, batch_stats, frozen, batch, key, train=True):
      del key
      error = batch["x"] @ params["w"] - batch["y"]
      return jnp.mean(error**2), (batch_stats, {"error": jnp.abs(error).mean()})

  rng = np.random.default_rng(0)
  batch = {"x": rng.random((8, 3), np.float32), "y": rng.random((8, 2), np.float32)}
  params = {"w": jnp.ones((3, 2))}
  state = TrainState(jnp.int32(0), params, {}, (), params)
  whole, parts = (
    mean_gradients(Plain(), state, {}, batch, jax.random.key(0), n) for n in (1, 4)
  )
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), whole, parts)


def test_training_in_parts_descends_and_updates_statistics_per_part(tmp_path, straight):
  state = toy_train(tmp_path, gradient_accumulation=2)
  assert state.step == 4
  before, after = (s.batch_stats["norm"]["mean"] for s in (straight[1], state))
  assert float(jnp.abs(before - after).max()) > 1e-3  # eight updates instead of four


def test_ctrl_c_saves_and_exits_with_130(straight, tmp_path):
  class Interrupted(ToyStage):
    def pictures(self, *args):
      os.kill(os.getpid(), signal.SIGINT)
      return super().pictures(*args)

  before = signal.getsignal(signal.SIGINT)
  with pytest.raises(SystemExit) as exit_info:
    toy_train(tmp_path, stage=Interrupted(), checkpoint_every=100)
  assert exit_info.value.code == 130
  assert signal.getsignal(signal.SIGINT) is before
  assert latest_step(tmp_path) == 3  # the signal came after step 2


def test_a_second_ctrl_c_stops_at_once():
  with signal_watch() as stop_status:
    os.kill(os.getpid(), signal.SIGINT)
    assert stop_status(1) == 130
    with pytest.raises(KeyboardInterrupt):
      os.kill(os.getpid(), signal.SIGINT)
      time.sleep(1)
