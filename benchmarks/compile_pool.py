"""Compiles many programs at once and measures them one at a time."""

import collections
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence

from benchmarks.accelerator_tasks import Row, Task
from data_pipeline import cli

# The share of the time after which no compilation begins: it would not end in time, and
# would disturb what is measured until then.
_LAST_START = 0.85
_SECONDS_TO_END = 3.0  # an ordinary end takes less


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

  def measure_alone(self, seconds: float, last: bool) -> None:
    """Gives it the device for at most so long; `last`: no such chance follows."""

  def end(self) -> None:
    """Ends it."""


class CompilePool:
  """Runs groups of tasks: all of a group compile in threads, each is then measured.

  XLA releases the interpreter lock while it compiles, so one more thread traces all
  tasks, also those of later groups. A task is measured as soon as it
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
    self._failed: set[Task] = set()
    self._traced: dict[Task, threading.Event] = {}
    self._untraced: dict[Task, Exception] = {}

  def unfinished(self) -> list[Task]:
    """Returns the tasks that are compiled now or wait for it."""
    return [*self._running, *self._waiting]

  def compiling(self) -> str:
    """Returns what is compiled now, "" for nothing."""
    # Programs that only wait to be measured use no core any more.
    number = len(self._running) - self._compiled.qsize()
    return f"compiling {number}" if number > 0 else ""

  def run(self, groups: Sequence[Sequence[Task]]) -> None:
    """Measures all tasks, group by group."""
    tasks = [task for group in groups for task in group]
    self._waiting.extend(tasks)
    self._traced = {task: threading.Event() for task in tasks}
    tracer = threading.Thread(target=self._trace, args=(tasks,), daemon=True)
    tracer.start()
    for group in groups:
      self._run_group(group)
      left = self._clock.left() - _SECONDS_TO_END
      self._neighbour.measure_alone(left, last=group is groups[-1])

  def _compiled_beside(self, compilations: int) -> str:
    traced = all(event.is_set() for event in self._traced.values())
    texts = (
      f"compiling {compilations}" if compilations else "",
      "" if traced else "tracing",
      self._neighbour.beside(),
    )
    return ", ".join(filter(None, texts))

  def _run_group(self, group: Sequence[Task]) -> None:
    disturbed = []
    self._start(group)
    while self._running:
      task, error = self._compiled.get()
      self._finished[task] = self._compiled_beside(self._running.pop(task))
      if error is not None:
        self._miss(task, error)
      self._start(group)  # before measuring: compilation is what takes the time
      if error is None and not self._measure(task, last=False):
        disturbed.append(task)
    for task in disturbed:
      with self._neighbour.stopped():
        self._measure(task, last=True)

  def _start(self, group: Sequence[Task]) -> None:
    """Starts compilations up to the number of threads, in order."""
    for task in tuple(self._waiting):
      if task not in group:
        continue
      reason = self._reason_not_to(task)
      if reason:
        self._waiting.remove(task)
        self._failed.add(task)
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
    if task.compiles and self._is_late():
      return "out of time"
    if not self._failed.isdisjoint(task.needs):
      return "needs a program that was not compiled"
    return ""

  def _is_late(self) -> bool:
    return self._clock.elapsed() > _LAST_START * self._clock.seconds

  def _trace(self, tasks: Sequence[Task]) -> None:
    """Traces all tasks in order, in a thread of its own."""
    for task in tasks:
      try:
        if task.compiles and self._is_late() and task not in self._running:
          raise TimeoutError("out of time")
        task.trace()
      except Exception as error:  # of any kind: the other tasks go on
        self._untraced[task] = error
      self._traced[task].set()

  def _compile(self, task: Task) -> None:
    self._traced[task].wait()
    try:
      if task in self._untraced:
        raise self._untraced[task]
      task.compile()
    except Exception as error:  # of any kind: the other tasks go on
      self._compiled.put((task, error))
    else:
      self._compiled.put((task, None))

  def _measure(self, task: Task, last: bool) -> bool:
    """Measures a task; returns whether nothing ran beside it."""
    beside = ""
    try:
      with self._neighbour.waiting():
        beside = ", ".join(filter(None, (self.compiling(), self._neighbour.beside())))
        for row in task.measure(self._num_calls, self._finished[task], beside):
          self._add_row(row)
    except Exception as error:  # of any kind: the other tasks go on
      if last or not beside:  # else there may be memory for it later
        self._miss(task, error)
    return not beside

  def _miss(self, task: Task, error: Exception) -> None:
    self._failed.add(task)
    text = f"{type(error).__name__}: {cli.one_line(error)}"
    if "RESOURCE_EXHAUSTED" in text or "out of memory" in text.lower():
      text = "out of memory"
    self._add_missed(f"{task.name}: {text[:300]}")
