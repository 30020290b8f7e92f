"""What the loop does at the same time, whose memory a step uses, what it compiles."""

import asyncio
import dataclasses
import re
import threading
import time

import jax
import numpy as np
from toy_stage import OPTIMIZER, ToyStage, toy_train

from dabfusion_jax.storage.checkpoint_files import complete_steps
from dabfusion_jax.storage.iterator_checkpoint import IteratorCheckpoint
from dabfusion_jax.training import loop
from dabfusion_jax.training.health import HealthCheck


def test_the_next_batch_is_placed_and_its_step_started_before_a_step_is_waited_for(
  tmp_path, monkeypatch
):
  events = []
  place, check = loop.sharding.to_global_batch, HealthCheck.after_step

  def told_place(*arguments):
    events.append("placed")
    return place(*arguments)

  def told_check(self, step, metrics):
    events.append(step)
    check(self, step, metrics)

  monkeypatch.setattr(loop.sharding, "to_global_batch", told_place)
  monkeypatch.setattr(HealthCheck, "after_step", told_check)
  toy_train(tmp_path, num_steps=3, checkpoint_every=3, picture_every=3)
  assert events == ["placed", "placed", 1, "placed", 2, 3]


def test_steps_that_end_in_their_call_have_a_true_speed(tmp_path, monkeypatch):
  compile_step = loop.hardware.compile_step

  def slow(*arguments, **sizes):
    step_fn, flops = compile_step(*arguments, **sizes)
    wait = lambda state: time.sleep(0.1) or jax.block_until_ready(state)
    return lambda *arguments: wait(step_fn(*arguments)), flops

  monkeypatch.setattr(loop.hardware, "compile_step", slow)
  toy_train(tmp_path, num_steps=6, log_every=1, checkpoint_every=3, picture_every=0)
  text = (tmp_path / "metrics.jsonl").read_text()
  speeds = re.findall(r'"steps_per_second": ([\d.]+)', text)
  assert speeds and max(map(float, speeds)) <= 10


def test_steps_go_on_while_a_checkpoint_is_written(tmp_path, monkeypatch):
  trained = threading.Event()
  in_time = []
  save = IteratorCheckpoint.save

  async def slow_save(self, directory):
    write = await save(self, directory)

    async def wait_and_write():
      in_time.append(await asyncio.to_thread(trained.wait, 60))
      await write

    return wait_and_write()

  class Counting(ToyStage):
    def pictures(self, *arguments):
      if not trained.is_set():
        assert not complete_steps(tmp_path / "checkpoints")  # it is still being written
      trained.set()
      return super().pictures(*arguments)

  monkeypatch.setattr(IteratorCheckpoint, "save", slow_save)
  settings = {"num_steps": 4, "checkpoint_every": 2, "picture_every": 3}
  toy_train(tmp_path, Counting(), **settings)
  assert in_time and all(in_time)


def test_a_step_takes_over_the_memory_of_the_state_before(tmp_path, monkeypatch):
  given = []
  compile_step = loop.hardware.compile_step

  def remember(*arguments, **sizes):
    step_fn, flops = compile_step(*arguments, **sizes)

    def step(state, *others):
      given.append(state)
      return step_fn(state, *others)

    return step, flops

  monkeypatch.setattr(loop.hardware, "compile_step", remember)
  toy_train(tmp_path, num_steps=2)
  leaves = jax.tree.leaves([(state.params, state.opt_state) for state in given])
  assert leaves and all(x.is_deleted() for x in leaves)


def test_a_resume_with_another_schedule_runs_the_step_that_is_compiled(
  tmp_path, monkeypatch
):
  programs, rates = [], []
  compile_step = loop.hardware.compile_step

  def remember(step_fn, *arguments, **sizes):
    programs.append(step_fn.lower(*arguments).as_text())
    step_fn, flops = compile_step(step_fn, *arguments, **sizes)

    def step(*arguments):
      state, metrics = step_fn(*arguments)
      rates.append(float(metrics["learning_rate"]))
      return state, metrics

    return step, flops

  monkeypatch.setattr(loop.hardware, "compile_step", remember)
  toy_train(tmp_path, num_steps=2)
  other = dataclasses.replace(
    OPTIMIZER, learning_rate=0.5, milestones=(2, 3), warmup_steps=1
  )
  toy_train(tmp_path, num_steps=4, optimizer=other)
  assert programs[0] == programs[1]
  np.testing.assert_allclose(rates, [1e-2, 1e-2, 0.05, 0.005])
