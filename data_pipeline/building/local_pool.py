"""Worker processes of one machine, which survive what a video does to them."""

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
  """Processes that end with their parent; a context manager."""

  def __init__(self, num_workers: int) -> None:
    self._num_workers = num_workers
    self._context = multiprocessing.get_context("spawn")
    # A closed pipe tells all workers, and unlike an event it waits for none of them:
    # one that crashed would never answer.
    self._held, self._hold = self._context.Pipe(duplex=False)
    self._executor: concurrent.futures.ProcessPoolExecutor | None = None

  def __enter__(self) -> "LocalPool":
    return self

  def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
    if kind is not None:  # nobody waits for what is still at work
      self._hold.close()
    if self._executor is not None:
      self._executor.shutdown(wait=kind is None, cancel_futures=True)
    self._hold.close()
    self._held.close()

  def run(
    self,
    function: Callable[..., Any],
    arguments: Iterable[tuple[Any, ...]],
    unit: str,
    on_crash: Callable[..., Any],
  ) -> Iterator[Any]:
    """Calls `function` on each of `arguments`; results as they come.

    A file may take its process down with it (a decoder's bug, all memory gone). Those
    that were at work then are called again one by one, to find which it was.

    Args:
      function: of the work; importable.
      arguments: of each call.
      unit: what is counted by the progress bar.
      on_crash: makes the result of a call that ends its process, of its arguments.
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
          # Handed out in order, so the guilty one is among the first that wait.
          for number in sorted(waiting)[: 2 * self._num_workers + 1]:
            try:
              alone = {number: waiting[number]}
              ((_, result),) = self._run_until_crash(function, alone)
            except BrokenProcessPool:
              result = on_crash(*waiting[number])
            del waiting[number]
            progress.update()
            yield result

  def _run_until_crash(
    self, function: Callable[..., Any], waiting: dict[int, tuple[Any, ...]]
  ) -> Iterator[tuple[int, Any]]:
    if self._executor is None:
      # One process a core: the matrix library must not start threads of its own.
      for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
      self._executor = concurrent.futures.ProcessPoolExecutor(
        self._num_workers,
        mp_context=self._context,
        initializer=_end_with_parent,
        initargs=(self._held,),
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


def _end_with_parent(held: multiprocessing.connection.Connection) -> None:
  """Ends a worker at once when its parent lets go of it, or was killed.

  Ctrl-C reaches all processes of a terminal; here it is the parent's affair alone.
  """
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  parent = multiprocessing.parent_process()

  def watch() -> None:
    multiprocessing.connection.wait([held, parent.sentinel])
    os._exit(1)

  threading.Thread(target=watch, daemon=True).start()
