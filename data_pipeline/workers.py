"""Starts worker processes that end with their parent, and counts cores for them."""

import concurrent.futures
import multiprocessing
import multiprocessing.connection
import multiprocessing.context
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)  # that are left to the parent


class _Worker(multiprocessing.context.SpawnProcess):
  """A process that ignores SIGTERM, with which broken executors end theirs."""

  def start(self) -> None:
    # A process inherits what is blocked: `_begin` comes seconds later, after imports.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
      super().start()
    finally:
      signal.pthread_sigmask(signal.SIG_SETMASK, before)

  def terminate(self) -> None:
    self.kill()


class _Workers(multiprocessing.context.SpawnContext):
  Process = _Worker


def count_cores() -> int:
  """Returns how many cores this process may use."""
  affinity = getattr(os, "sched_getaffinity", None)  # not on macOS
  return len(affinity(0)) if affinity else os.cpu_count() or 1


def start_workers(
  num_workers: int,
  watched: multiprocessing.connection.Connection | None = None,
  prepare: Callable[..., None] | None = None,
  arguments: tuple[Any, ...] = (),
) -> concurrent.futures.ProcessPoolExecutor:
  """Returns an executor whose processes start as calls come, and end with this one.

  Args:
    num_workers: largest number of processes.
    watched: the reading end of a pipe; workers end at once if it is closed.
    prepare: called first in each process, with `arguments`; importable by it.
    arguments: of `prepare`.
  """
  # With one process per core, the matrix library must not start its own threads.
  for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
  return concurrent.futures.ProcessPoolExecutor(
    num_workers,
    mp_context=_Workers(),
    initializer=_begin,
    initargs=(watched, prepare, arguments),
  )


def kill_workers() -> None:
  """Ends all worker processes of this one at once, also those that are starting.

  All, whatever started them: an interrupted program needs none.
  """
  for process in multiprocessing.active_children():
    if isinstance(process, _Worker):
      process.kill()


def _begin(
  watched: multiprocessing.connection.Connection | None,
  prepare: Callable[..., None] | None,
  arguments: tuple[Any, ...],
) -> None:
  """Makes a worker end as soon as its parent closes the pipe or is killed.

  Ctrl-C reaches all processes of a terminal, and SIGTERM all of a job. Only the
  parent handles them: it may need its workers for the rest of its work.
  """
  for number in _SIGNALS:
    signal.signal(number, signal.SIG_IGN)
  # Else programs that a worker starts would not hear them.
  signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
  parent = multiprocessing.parent_process()
  ends = [parent.sentinel] if watched is None else [parent.sentinel, watched]

  def watch() -> None:
    multiprocessing.connection.wait(ends)
    os._exit(1)

  threading.Thread(target=watch, daemon=True).start()
  if prepare is not None:
    prepare(*arguments)
