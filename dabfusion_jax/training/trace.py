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

  @contextlib.contextmanager
  def around_step(self, step: int):
    """Starts the trace before its first step and stops it after its last."""
    if not self._first <= step <= self._last:
      yield
      return
    if step == self._first:
      jax.profiler.start_trace(os.fspath(self._folder))
    with jax.profiler.StepTraceAnnotation("train", step_num=step):
      yield
    if step == self._last:
      jax.effects_barrier()
      jax.profiler.stop_trace()
      count = self._last - self._first + 1
      logging.info("Trace of %d steps in %s.", count, self._folder)
