"""The rows of the accelerator benchmark: printed at once, and kept in a JSON file."""

import dataclasses
import math
import pathlib
import threading
from typing import Any

from benchmarks.accelerator_rows import DanceTimes, Difference, Profile
from benchmarks.accelerator_tasks import Row
from benchmarks.program_times import ProgramTimes
from dabfusion_jax.parallel import hardware
from data_pipeline import files

TOLERANCE = 1e-3  # of the CPU comparison, relative to the largest value
HEAD = (
  "| program | precision | batch | ms | examples/s | share of bf16 peak | GFLOP"
  " | memory GiB | trace s | compile s | cached s | compiled beside | timed beside |\n"
  + "|---" * 13
  + "|"
)
_KEYS = ("program", "mode", "precision", "batch_size", "num_steps")


class Report:
  """Prints rows and rewrites the file after each, so that a killed run leaves them."""

  def __init__(self, path: pathlib.Path, about: dict[str, Any]):
    self._path, self._lock = path, threading.Lock()
    self._content: dict[str, Any] = {
      **about,
      "programs": [],
      "profiles": [],
      "dances": [],
      "difference_from_cpu": {},
      "torch": [],
      "not_measured": [],
    }
    self._write()

  def add(self, row: Row) -> None:
    """Adds a row, in place of an earlier one of the same program."""
    if isinstance(row, Difference):
      self._put("difference_from_cpu", {row.program: _finite(row.value)})
      print(
        f"- {row.program}: differs from the CPU by {row.value:.1e} (at most"
        f" {TOLERANCE:g})",
        flush=True,
      )
      return
    name, show = next(
      (name, show) for kind, name, show in _TABLES if isinstance(row, kind)
    )
    self._put(name, dataclasses.asdict(row))
    print(show(row), flush=True)

  def add_torch(self, row: dict[str, Any]) -> None:
    """Adds a row of the reference in PyTorch."""
    self._put("torch", row)
    print(torch_line(row), flush=True)

  def add_missed(self, text: str) -> None:
    """Adds a line on what was not measured."""
    with self._lock:
      self._content["not_measured"].append(text)
      self._write()
    print(f"- not measured: {text}", flush=True)

  def set(self, name: str, value: Any) -> None:
    """Sets an entry of the file."""
    with self._lock:
      self._content[name] = value
      self._write()

  def agrees(self) -> bool:
    """Returns whether all results that were compared are those of the CPU."""
    values = self._content["difference_from_cpu"].values()
    return all(value is not None and value <= TOLERANCE for value in values)

  def _put(self, name: str, row: dict[str, Any]) -> None:
    with self._lock:
      kind = self._content[name]
      if isinstance(kind, dict):
        kind |= row
      else:
        key = [row.get(k) for k in _KEYS]
        kind[:] = [r for r in kind if [r.get(k) for k in _KEYS] != key] + [row]
      # The highest use of the whole process so far, work space of kernels included.
      memory_name, memory = hardware.peak_memory()
      self._content[memory_name] = memory
      self._write()

  def _write(self) -> None:
    files.write_json(self._path, self._content)


def program_line(row: ProgramTimes) -> str:
  """Returns one row of the table."""
  share, memory, cached = (
    row.flop_utilisation,
    row.memory_gib,
    row.cached_compile_seconds,
  )
  cells = (
    row.program + ("" if row.is_finite else " (not finite)"),
    row.precision,
    row.batch_size,
    f"{row.milliseconds:.2f}",
    f"{1e3 * row.batch_size / row.milliseconds:.1f}",
    "not computed" if share is None else f"{100 * share:.1f} %",
    f"{row.gflop:.1f}",
    "not computed" if memory is None else f"{memory:.2f}",
    f"{row.trace_seconds:.1f}",
    f"{row.compile_seconds:.1f}",
    "" if cached is None else f"{cached:.1f}",
    row.compiled_beside or "nothing",
    row.timed_beside or "nothing",
  )
  return f"| {' | '.join(map(str, cells))} |"


def dance_line(row: DanceTimes) -> str:
  """Returns one line on whole dances."""
  return (
    f"- {row.dance_seconds:g} s of dance in {row.num_steps} guided steps,"
    f" {row.precision}, batch {row.batch_size}: {row.seconds:.3f} s,"
    f" {row.dance_seconds / row.seconds:.3g} s of dance/s, frames on the host"
    f" (beside: {row.timed_beside or 'nothing'})"
  )


def profile_lines(row: Profile) -> str:
  """Returns a table of where a step's time goes, with a line on gaps above it."""
  kernels = row.kernels
  idle = row.milliseconds - kernels.busy_milliseconds
  mean = 1e3 * kernels.kernel_milliseconds / max(kernels.num_kernels, 1)
  name = f"{row.program}, {row.precision}, batch {row.batch_size}"
  head = (
    f"\n{name}: {row.milliseconds:.2f} ms per step, kernels run in"
    f" {kernels.busy_milliseconds:.2f} ms of it, {idle:.2f} ms without;"
    f" {kernels.num_kernels:.0f} kernels of {mean:.1f} microseconds; while recorded"
    f" {row.recorded_milliseconds:.2f} ms per step;"
    f" {kernels.guessed_milliseconds:.2f} ms of kernels counted as their neighbours;"
    f" {row.num_calls} calls recorded, {row.seconds:.1f} s"
    f" (beside: {row.timed_beside or 'nothing'})",
    "",
    "| program | kind | forward ms | backward ms | kernels | share |",
    "|---" * 6 + "|",
  )
  rows = (
    f"| {name} | {kind.kind} | {kind.forward_milliseconds:.3f}"
    f" | {kind.backward_milliseconds:.3f} | {kind.num_kernels:.0f}"
    f" | {100 * kind.share:.1f} % |"
    for kind in kernels.kinds
  )
  return "\n".join([*head, *rows, "", HEAD])


def torch_line(row: dict[str, Any]) -> str:
  """Returns one line on the reference in PyTorch."""
  return (
    f"- torch {row['version']} {row['mode']}, {row['program']}, {row['precision']},"
    f" batch {row['batch_size']}: {row['milliseconds']:.2f} ms, peak"
    f" {row['memory_gib']:.2f} GiB, first call {row['first_seconds']:.1f} s"
    f" (beside: {row['timed_beside'] or 'nothing'})"
  )


def _finite(value: float) -> float | None:
  # JSON has no nan; null then: a result was not finite.
  return value if math.isfinite(value) else None


_TABLES = (
  (ProgramTimes, "programs", program_line),
  (DanceTimes, "dances", dance_line),
  (Profile, "profiles", profile_lines),
)
