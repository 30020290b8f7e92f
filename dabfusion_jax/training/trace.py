"""A trace of some training steps for XProf."""

import contextlib
import os
import pathlib

import jax
from absl import logging

from dabfusion_jax.training.hooks import Hook


class Trace(Hook):
  """Records steps of a run to WORKDIR/profile."""

  def __init__(self, workdir: pathlib.Path, first_step: int, num_steps: int):
    """Records `num_steps` steps from `first_step` on; 0 records none."""
    self._folder = workdir / "profile"
    self._first, self._last = first_step, first_step + num_steps - 1
    self._num_traced = 0
    self._is_running = False

  @contextlib.contextmanager
  def around_step(self, step: int):
    """Starts the trace before its first step."""
    if not self._first <= step <= self._last:
      yield
      return
    if step == self._first:
      jax.profiler.start_trace(os.fspath(self._folder))
      self._is_running = True
    with jax.profiler.StepTraceAnnotation("train", step_num=step):
      yield
    self._num_traced += 1

  def after_step(self, step: int, metrics: dict[str, float]) -> None:
    """Stops the trace after its last step, which has only now been computed.

    A run that ends earlier keeps the steps until then.
    """
    if self._is_running and step >= self._last:
      self._stop()

  def __exit__(self, *unused):
    if self._is_running:
      self._stop()

  def _stop(self) -> None:
    jax.profiler.stop_trace()
    self._is_running = False
    logging.info("Trace of %d steps in %s.", self._num_traced, self._folder)
