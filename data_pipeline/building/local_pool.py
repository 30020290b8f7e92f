"""Runs work in local processes, and survives the crash of any of them."""

import concurrent.futures
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import tqdm

from data_pipeline import interrupts
from data_pipeline.workers import kill_workers, start_workers


class LocalPool:
  """Worker processes that end with their parent; a context manager."""

  def __init__(self, num_workers: int) -> None:
    self._num_workers = num_workers
    # Closing this pipe tells all workers to end. Unlike an event it waits for none of
    # them, because one that crashed would never answer.
    self._watched, self._closed_to_stop = multiprocessing.Pipe(duplex=False)
    self._executor: concurrent.futures.ProcessPoolExecutor | None = None

  def __enter__(self) -> "LocalPool":
    return self

  def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
    if kind is not None:  # do not wait for calls in progress
      self._closed_to_stop.close()
      kill_workers()
    if self._executor is not None:  # its semaphores go when its thread has ended
      self._executor.shutdown(wait=True, cancel_futures=True)
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
      self._executor = start_workers(self._num_workers, self._watched)
    try:
      futures = {
        self._executor.submit(function, *args): number
        for number, args in sorted(waiting.items())
      }
      for future in concurrent.futures.as_completed(futures):
        interrupts.check()
        yield futures[future], future.result()
    except BrokenProcessPool:
      self._executor.shutdown(wait=False, cancel_futures=True)
      self._executor = None
      raise
