"""Ends a run in which nothing moves, and says which process holds it up.

On a pod one hung or dead process leaves all others waiting in a collective for ever,
without a word. Each process writes the step it is at to WORKDIR/heartbeats; the one
whose patience ends names those that are behind.
"""

import faulthandler
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable

import jax
from absl import logging
from etils import epath

FOLDER = "heartbeats"
STALLED = 75  # exit status: try again (EX_TEMPFAIL)
_WRITE_SECONDS = 5.0


def _exit() -> None:
  faulthandler.dump_traceback(sys.stderr)  # where each thread of this process waits
  os._exit(STALLED)  # the main thread hangs in native code: nothing softer ends it


class Watchdog:
  """Watches from its own thread between `__enter__` and `__exit__`."""

  def __init__(
    self,
    workdir: epath.PathLike,
    stall_seconds: float,
    on_stall: Callable[[], None] = _exit,
  ):
    """Watches for `stall_seconds` without a `beat`; 0 watches nothing.

    The time must exceed that of a checkpoint, of the pictures and of the first step.
    `on_stall` is called once, from the watching thread.
    """
    self._folder = epath.Path(workdir) / FOLDER
    self._stall_seconds = stall_seconds
    self._on_stall = on_stall
    self._step, self._beaten, self._written = 0, time.monotonic(), 0.0
    self._done = threading.Event()
    self._thread = threading.Thread(target=self._watch, daemon=True)

  def __enter__(self):
    if self._stall_seconds:
      self._folder.mkdir(parents=True, exist_ok=True)
      self.beat(0)
      self._thread.start()
    return self

  def __exit__(self, *unused):
    self._done.set()
    if self._thread.is_alive():
      self._thread.join()

  def beat(self, step: int) -> None:
    """This process has finished `step`."""
    self._step, self._beaten = step, time.monotonic()
    if self._stall_seconds and self._beaten - self._written > _WRITE_SECONDS:
      self._written = self._beaten
      path = self._folder / f"{jax.process_index()}.json"
      beat = {"step": step, "time": time.time(), "host": socket.gethostname()}
      path.write_text(json.dumps(beat))

  def _watch(self):
    while not self._done.wait(min(1.0, self._stall_seconds / 4)):
      waited = time.monotonic() - self._beaten
      if waited > self._stall_seconds:
        logging.error(
          "No step for %.0f s: process %d of %d waits after step %d. %s",
          waited,
          jax.process_index(),
          jax.process_count(),
          self._step,
          find_stragglers(self._folder, jax.process_count()),
        )
        self._on_stall()
        return


def find_stragglers(folder: epath.PathLike, num_processes: int) -> str:
  """One line on the processes that were heard of last or never."""
  beats, silent = {}, []
  for index in range(num_processes):
    try:
      path = epath.Path(folder) / f"{index}.json"
      beats[index] = json.loads(path.read_text())
    except (OSError, ValueError):
      silent.append(str(index))
  parts = [f"Never heard of process {', '.join(silent)}."] if silent else []
  if beats:
    index, beat = min(beats.items(), key=lambda item: item[1]["time"])
    parts.append(
      f"Longest silent is process {index} on {beat['host']}, last heard"
      f" {time.time() - beat['time']:.0f} s ago after step {beat['step']}."
    )
  return " ".join(parts)
