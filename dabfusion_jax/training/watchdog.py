"""Ends a run that makes no progress, and says which process holds it up.

On a pod, one hung or dead process leaves all others waiting silently in a collective,
for ever. Each process writes its step to WORKDIR/heartbeats; the first whose time is up
names those that are behind.
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

from dabfusion_jax.training.hooks import Hook
from data_pipeline import files

FOLDER = "heartbeats"
STALLED = 175  # exit status; Slurm reports the highest, and 137 is of what it kills
_WRITE_SECONDS = 5.0


def _exit() -> None:
  faulthandler.dump_traceback(sys.stderr)  # where each thread of this process waits
  os._exit(STALLED)  # the main thread hangs in native code: nothing gentler ends it


class Watchdog(Hook):
  """Watches the steps from a thread of its own."""

  def __init__(
    self,
    workdir: epath.PathLike,
    stall_seconds: float,
    step: int = 0,
    on_stall: Callable[[], None] = _exit,
  ):
    """Calls `on_stall`, once, after `stall_seconds` without a step; 0: never.

    The time must exceed that of a checkpoint, of the pictures and of the first step.
    `step` is the last one that an earlier start of the run has finished.
    """
    self._folder = epath.Path(workdir) / FOLDER
    self._stall_seconds = stall_seconds
    self._on_stall = on_stall
    self._step, self._beaten, self._written = step, time.monotonic(), 0.0
    self._done = threading.Event()
    self._thread = threading.Thread(target=self._watch, daemon=True)

  def __enter__(self):
    if self._stall_seconds:
      self._folder.mkdir(parents=True, exist_ok=True)
      self.after_step(self._step, {})
      self._thread.start()
    return self

  def __exit__(self, *unused):
    self._done.set()
    if self._thread.is_alive():
      self._thread.join()

  def after_step(self, step: int, metrics: dict[str, float]) -> None:
    """Notes that this process has finished `step`."""
    self._step, self._beaten = step, time.monotonic()
    if self._stall_seconds and self._beaten - self._written > _WRITE_SECONDS:
      self._written = self._beaten
      path = self._folder / f"{jax.process_index()}.json"
      beat = {"step": step, "time": time.time(), "host": socket.gethostname()}
      files.write_json(path, beat)

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
  """Returns one line on the processes whose last heartbeat is oldest or missing."""
  beats, silent = {}, []
  for index in range(num_processes):
    try:
      path = epath.Path(folder) / f"{index}.json"
      beats[index] = json.loads(path.read_text())
    except (OSError, ValueError):
      silent.append(str(index))
  parts = [f"No heartbeat from process {', '.join(silent)}."] if silent else []
  if beats:
    index, beat = min(beats.items(), key=lambda item: item[1]["time"])
    parts.append(
      f"The oldest is that of process {index} on {beat['host']}, from"
      f" {max(time.time() - beat['time'], 0):.0f} s ago after step {beat['step']}."
    )
  return " ".join(parts)
