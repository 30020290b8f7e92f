"""Compiles many programs at once and measures them one at a time."""

import collections
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterable

from benchmarks.accelerator_tasks import Row, Task
from data_pipeline import cli

# The share of the time after which no compilation begins: it would not end in time, and
# would disturb what is measured until then.
_LAST_START = 0.85


class Clock:
  """The seconds that a run may take."""

  def __init__(self, seconds: float):
    self.seconds, self._started = seconds, time.monotonic()

  def elapsed(self) -> float:
    """Returns the seconds since the start."""
    return time.monotonic() - self._started

  def left(self) -> float:
    """Returns the seconds that are left, at least 0."""
    return max(0.0, self.seconds - self.elapsed())


class Neighbour:
  """Nobody: what else uses the device, to be told beside every figure."""

  def beside(self) -> str:
    """Returns what it does now, "" for nothing."""
    return ""

  def waiting(self) -> contextlib.AbstractContextManager:
    """Returns a context in which it measures nothing."""
    return contextlib.nullcontext()

  def stopped(self) -> contextlib.AbstractContextManager:
    """Returns a context in which it does nothing at all."""
    return contextlib.nullcontext()

  def measure_alone(self, seconds: float) -> None:
    """Gives it the device for at most so long."""

  def end(self) -> None:
    """Ends it."""


class CompilePool:
  """Runs groups of tasks: all of a group compile in threads, each is then measured.

  XLA releases the interpreter lock while it compiles. A task is measured as soon as it
  is compiled, beside the other compilations if there are any, and again at the end of
  its group, when nothing compiles. Rows say what ran beside them.

  Args:
    clock: when to stop.
    num_threads: compilations at once.
    num_calls: of a program, timed.
    add_row: called with every row; a later one of the same name replaces an earlier.
    add_missed: called with a line on everything that was not measured.
    neighbour: who else uses the device.
  """

  def __init__(
    self,
    clock: Clock,
    num_threads: int,
    num_calls: int,
    add_row: Callable[[Row], None],
    add_missed: Callable[[str], None],
    neighbour: Neighbour,
  ):
    self._clock, self._num_threads, self._num_calls = clock, num_threads, num_calls
    self._add_row, self._add_missed = add_row, add_missed
    self._neighbour = neighbour
    self._waiting: collections.deque[Task] = collections.deque()
    self._running: dict[Task, int] = {}  # with the most compilations beside it
    self._compiled: queue.Queue[tuple[Task, Exception | None]] = queue.Queue()
    self._finished: dict[Task, str] = {}  # with what ran beside its compilation

  def unfinished(self) -> list[Task]:
    """Returns the tasks that are compiled now or wait for it."""
    return [*self._running, *self._waiting]

  def _beside(self, compilations: int) -> str:
    texts = [f"compiling {compilations}" if compilations else ""]
    return ", ".join(filter(None, [*texts, self._neighbour.beside()]))

  def run(self, group: Iterable[Task]) -> None:
    """Compiles and measures the tasks of a group."""
    self._waiting.extend(group)
    disturbed = []
    self._start()
    while self._running:
      task, error = self._compiled.get()
      self._finished[task] = self._beside(self._running.pop(task))
      if error is not None:
        self._miss(task, error)
      self._start()  # before measuring: compilation is what takes the time
      if error is None and self._measure(task):
        disturbed.append(task)
    for task in disturbed:
      with self._neighbour.stopped():
        self._measure(task)

  def _start(self) -> None:
    """Starts compilations up to the number of threads, in order."""
    for task in tuple(self._waiting):
      reason = self._reason_not_to(task)
      if reason:
        self._waiting.remove(task)
        task.failed = True
        self._add_missed(f"{task.name}: {reason}")
      elif len(self._running) < self._num_threads and all(
        needed in self._finished for needed in task.needs
      ):
        self._waiting.remove(task)
        self._running[task] = 0
        threading.Thread(target=self._compile, args=(task,), daemon=True).start()
    for task, most in self._running.items():
      self._running[task] = max(most, len(self._running) - 1)

  def _reason_not_to(self, task: Task) -> str:
    if self._clock.elapsed() > _LAST_START * self._clock.seconds:
      return "out of time"
    if any(needed.failed for needed in task.needs):
      return "needs a program that was not compiled"
    return ""

  def _compile(self, task: Task) -> None:
    try:
      task.compile()
    except Exception as error:  # of any kind: the other tasks go on
      self._compiled.put((task, error))
    else:
      self._compiled.put((task, None))

  def _measure(self, task: Task) -> bool:
    """Measures a task; returns whether something ran beside it."""
    try:
      with self._neighbour.waiting():
        beside = self._beside(len(self._running))
        for row in task.measure(self._num_calls, self._finished[task], beside):
          self._add_row(row)
    except Exception as error:  # of any kind: the other tasks go on
      self._miss(task, error)
      return False
    return bool(beside)

  def _miss(self, task: Task, error: Exception) -> None:
    task.failed = True
    text = f"{type(error).__name__}: {cli.one_line(error)}"
    if "RESOURCE_EXHAUSTED" in text or "out of memory" in text.lower():
      text = "out of memory"
    self._add_missed(f"{task.name}: {text[:300]}")
