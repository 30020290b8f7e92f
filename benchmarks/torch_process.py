"""The reference in PyTorch as a process of its own, beside the accelerator benchmark.

A failure in it, of memory or of an import, is one line among what was not measured.
"""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.compile_pool import Neighbour

NAME = "torch"


class TorchProcess(Neighbour):
  """Starts `benchmarks.torch_reference.measure`, which prints a JSON object per row.

  Either side holds the lock of a file while it times; this side can also stop the
  process, compilation included.
  """

  def __init__(
    self,
    smoke: bool,
    add_row: Callable[[dict[str, Any]], None],
    add_missed: Callable[[str], None],
  ):
    self._add_row, self._add_missed = add_row, add_missed
    self._file = tempfile.NamedTemporaryFile(prefix="timing_", suffix=".lock")
    self._log = tempfile.TemporaryFile("w+")
    self._stopped, self._asked = False, False
    self._done = threading.Event()
    command = [sys.executable, "-m", "benchmarks.torch_reference.measure"]
    command += ["--again", f"--lock={self._file.name}"] + ["--smoke"] * smoke
    # It takes settings from code that imports JAX, which must leave the device alone.
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    self._process = subprocess.Popen(
      command,
      env=environment,
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=self._log,
      text=True,
      process_group=0,  # its compilers are stopped with it
    )
    self._reader = threading.Thread(target=self._read, daemon=True)
    self._reader.start()

  def beside(self) -> str:
    return NAME if self._process.poll() is None and not self._stopped else ""

  @contextlib.contextmanager
  def waiting(self) -> Iterator[None]:
    fcntl.flock(self._file, fcntl.LOCK_EX)
    try:
      yield
    finally:
      fcntl.flock(self._file, fcntl.LOCK_UN)

  @contextlib.contextmanager
  def stopped(self) -> Iterator[None]:
    with self.waiting():  # else it might be stopped while it times
      self._signal(signal.SIGSTOP)
      self._stopped = True
    try:
      yield
    finally:
      self._stopped = False
      self._signal(signal.SIGCONT)

  def measure_alone(self, seconds: float, last: bool) -> None:
    """Asks for all rows once more, since nothing disturbs them now.

    Before the last chance it waits for nothing that is not yet compiled.
    """
    if self._asked or not (last or self._done.is_set()):
      return
    self._asked = True
    if self._process.poll() is None:
      with contextlib.suppress(OSError):
        self._process.stdin.write("again\n")
        self._process.stdin.close()
    self._reader.join(max(0.0, seconds))

  def end(self) -> None:
    if self._process.poll() is None:
      self._add_missed(f"{NAME}: not finished")
      self._signal(signal.SIGKILL)

  def _read(self) -> None:
    for line in self._process.stdout:
      try:
        row = json.loads(line)
      except ValueError:
        continue  # a library's own words
      if "done" in row:
        self._done.set()
      elif "missed" in row:
        self._add_missed(f"{NAME}: {row['missed']}")
      else:
        self._add_row(row)
    status = self._process.wait()
    if status not in (0, -signal.SIGKILL):
      self._log.seek(0)
      last = (self._log.read().strip().splitlines() or ["no message"])[-1]
      self._add_missed(f"{NAME}: ended with status {status}: {last[:300]}")

  def _signal(self, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
      os.killpg(self._process.pid, number)
