"""How the accelerator benchmark schedules, on tasks that compile nothing."""

import threading

from benchmarks.accelerator_tasks import Task
from benchmarks.compile_pool import Clock, CompilePool, Neighbour


class _Task(Task):
  """Yields its name and what ran beside it; `steps` are called while it compiles."""

  def __init__(self, name, needs=(), error=None, step=lambda: None, fails_beside=False):
    self.name, self.needs, self.error, self.step = name, needs, error, step
    self.fails_beside = fails_beside

  def trace(self):
    if self.error == "trace":
      raise ValueError("no trace")

  def compile(self):
    self.step()
    if self.error == "compile":
      raise RuntimeError("RESOURCE_EXHAUSTED: so many bytes")

  def measure(self, num_calls, compiled_beside, timed_beside):
    if self.error == "measure" or (self.fails_beside and timed_beside):
      raise ValueError("no measurement")
    yield self.name, timed_beside


def _run(groups, seconds=60.0):
  rows, missed = [], []
  pool = CompilePool(Clock(seconds), 2, 1, rows.append, missed.append, Neighbour())
  pool.run(groups)
  return rows, missed


def test_a_task_that_fails_is_one_line_and_the_others_are_measured():
  wrong = [_Task(name, error=name) for name in ("trace", "compile", "measure")]
  rows, missed = _run([[*wrong, _Task("good")], [_Task("later")]])
  assert {name for name, _ in rows} == {"good", "later"}
  assert len(missed) == 3
  assert "compile: out of memory" in missed


def test_a_task_is_not_begun_if_one_that_it_needs_failed():
  wrong = _Task("wrong", error="compile")
  rows, missed = _run([[wrong, _Task("after", needs=(wrong,))]])
  assert not rows
  assert missed[1] == "after: needs a program that was not compiled"


def test_what_was_measured_beside_a_compilation_is_measured_again_alone():
  measured = threading.Event()
  slow = _Task("slow", step=lambda: measured.wait(30))
  quick = _Task("quick")
  rows, missed = [], []

  def add_row(row):
    rows.append(row)
    measured.set()

  CompilePool(Clock(60), 2, 1, add_row, missed.append, Neighbour()).run([[slow, quick]])
  assert rows == [("quick", "compiling 1"), ("slow", ""), ("quick", "")]
  assert not missed


def test_what_fails_beside_a_compilation_gets_another_chance_alone():
  begun = threading.Event()
  slow = _Task("slow", step=lambda: begun.wait(0.5))
  rows, missed = _run([[slow, _Task("large", fails_beside=True)]])
  assert ("large", "") in rows
  assert not missed


def test_near_the_end_of_the_time_nothing_new_is_compiled():
  rows, missed = _run([[_Task("one")]], seconds=1e-9)
  assert not rows
  assert missed == ["one: out of time"]


def test_what_compiles_nothing_is_measured_near_the_end_too():
  clock = Clock(60)
  first = _Task("first", step=lambda: setattr(clock, "elapsed", lambda: 55.0))
  profile, other = _Task("profile", needs=(first,)), _Task("other", needs=(first,))
  profile.compiles = False
  rows, missed = [], []
  pool = CompilePool(clock, 2, 1, rows.append, missed.append, Neighbour())
  pool.run([[first, profile, other]])
  assert {name for name, _ in rows} == {"first", "profile"}
  assert missed == ["other: out of time"]
