"""Runs work in local processes, and survives the crash of any of them."""

import concurrent.futures
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import tqdm


class LocalPool:
  """Worker processes that end with their parent; a context manager."""

  def __init__(self, num_workers: int) -> None:
    self._num_workers = num_workers
    self._context = multiprocessing.get_context("spawn")
    # Closing this pipe tells all workers to end. Unlike an event it waits for none of
    # them, because one that crashed would never answer.
    self._watched, self._closed_to_stop = self._context.Pipe(duplex=False)
    self._executor: concurrent.futures.ProcessPoolExecutor | None = None

  def __enter__(self) -> "LocalPool":
    return self

  def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
    if kind is not None:  # do not wait for calls in progress
      self._closed_to_stop.close()
    if self._executor is not None:
      self._executor.shutdown(wait=kind is None, cancel_futures=True)
    self._closed_to_stop.close()
    self._watched.close()

  def run(
    self,
    function: Callable[..., Any],
    arguments: Iterable[tuple[Any, ...]],
    unit: str,
    on_crash: Callable[..., Any],
  ) -> Iterator[Any]:
    """Calls `function` on each of `arguments`, and yields the results as they come.

    A file may crash its process (by a bug in a decoder, or by exhausting the memory).
    Then the calls in progress are repeated one by one, to find which one it was.

    Args:
      function: importable by the workers.
      arguments: of each call.
      unit: what the progress bar counts.
      on_crash: maps the arguments of a call that crashed its process to a result.
    """
    waiting = dict(enumerate(arguments))
    with tqdm.tqdm(total=len(waiting), desc=unit, unit="") as progress:
      while waiting:
        try:
          for number, result in self._run_until_crash(function, waiting):
            del waiting[number]
            progress.update()
            yield result
        except BrokenProcessPool:
          # Calls are started in order, so the crash was one of the first waiting.
          for number in sorted(waiting)[: 2 * self._num_workers + 1]:
            try:
              single = {number: waiting[number]}
              ((_, result),) = self._run_until_crash(function, single)
            except BrokenProcessPool:
              result = on_crash(*waiting[number])
            del waiting[number]
            progress.update()
            yield result

  def _run_until_crash(
    self, function: Callable[..., Any], waiting: dict[int, tuple[Any, ...]]
  ) -> Iterator[tuple[int, Any]]:
    if self._executor is None:
      # With one process per core, the matrix library must not start its own threads.
      for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
      self._executor = concurrent.futures.ProcessPoolExecutor(
        self._num_workers,
        mp_context=self._context,
        initializer=_end_with_parent,
        initargs=(self._watched,),
      )
    try:
      futures = {
        self._executor.submit(function, *args): number
        for number, args in sorted(waiting.items())
      }
      for future in concurrent.futures.as_completed(futures):
        yield futures[future], future.result()
    except BrokenProcessPool:
      self._executor.shutdown(wait=False, cancel_futures=True)
      self._executor = None
      raise


def _end_with_parent(watched: multiprocessing.connection.Connection) -> None:
  """Makes a worker end as soon as its parent closes the pipe or is killed.

  Ctrl-C reaches all processes of a terminal; only the parent handles it.
  """
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  parent = multiprocessing.parent_process()

  def watch() -> None:
    multiprocessing.connection.wait([watched, parent.sentinel])
    os._exit(1)

  threading.Thread(target=watch, daemon=True).start()
