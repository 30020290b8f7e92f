"""Profiles a compiled training step, for the accelerator benchmark."""

import pathlib
import tempfile
import time
from collections.abc import Iterator

import jax

from benchmarks import program_times
from benchmarks.accelerator_rows import Profile
from benchmarks.accelerator_tasks import ProgramTask, Row, Task
from benchmarks.hlo_names import HloNames
from benchmarks.kernel_events import read_events
from benchmarks.kernel_times import add_up
from benchmarks.program_times import fill

_NUM_CALLS = 3  # recorded; one more before them


class ProfileTask(Task):
  """Records warm calls of the training step of another task, already compiled."""

  compiles = False

  def __init__(self, task: ProgramTask):
    self.task, self.needs = task, (task,)
    self.name = f"profile: {task.name}"
    self._platform = task.mesh.devices.flat[0].platform

  def trace(self) -> None:
    """Does nothing: the other task did."""

  def compile(self) -> None:
    """Does nothing: the other task did."""

  def measure(
    self, num_calls: int, compiled_beside: str, timed_beside: str
  ) -> Iterator[Row]:
    task = self.task
    if task.row is None:
      raise RuntimeError("the program was not timed")
    started = time.perf_counter()
    calls = min(num_calls, _NUM_CALLS)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
      recorded = self._record(pathlib.Path(folder), calls)
      events = read_events(pathlib.Path(folder), self._platform)
    kernels = add_up(events, HloNames(task.compiled.call.as_text()), calls)
    yield Profile(
      task.row.program,
      task.precision,
      task.batch_size,
      calls,
      task.row.milliseconds,
      1e3 * recorded / calls,
      time.perf_counter() - started,
      kernels,
      timed_beside,
    )

  def _record(self, folder: pathlib.Path, calls: int) -> float:
    """Writes a profile of calls; returns the seconds that they took."""
    task = self.task
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0  # it would slow the host down
    # On a CPU the program's own events are of level 2; on a GPU kernels need none, and
    # compilations beside would write many.
    options.host_tracer_level = 2 if self._platform == "cpu" else 1
    with program_times.HOST.timing(), jax.set_mesh(task.mesh):
      state, *others = fill(task.program.arguments)
      state, _ = jax.block_until_ready(task.compiled.call(state, *others))
      with jax.profiler.trace(folder, profiler_options=options):
        started = time.perf_counter()
        for _ in range(calls):
          state, _ = jax.block_until_ready(task.compiled.call(state, *others))
        return time.perf_counter() - started
