r"""How fast PyTorch trains the same U-Net: eager, channels last, compiled.

  python -m benchmarks.torch_reference.measure [--batches=8,32,2] [--smoke]

Prints one JSON object per line: a row, or {"missed": reason}. Run by
`benchmarks.accelerator --torch`, with a file whose lock is held by whoever times.
"""

import argparse
import contextlib
import fcntl
import json
import pathlib
import statistics
import sys
import time
from collections.abc import Iterator

import torch

from benchmarks.torch_reference.training import Training
from dabfusion_jax.settings.config_files import load_config
from data_pipeline import cli

_CONFIG = pathlib.Path(__file__).parents[2] / "configs" / "diffusion.py"
# Mode -> (channels last, compiled).
MODES = {
  "eager": (False, False),
  "eager, channels last": (True, False),
  "torch.compile, channels last": (True, True),
}
_MAX_SECONDS = 1.5  # of the timed steps of a row


class Reference:
  """All modes at all batch sizes, the compiled ones last."""

  def __init__(self, args: argparse.Namespace):
    self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    variant = "smoke" if args.smoke else "paper"
    self._settings = load_config(_CONFIG, variant)
    self._calls, self._lock = args.calls, args.lock
    self._trainings: dict[str, Training] = {}
    self._measured: list[tuple[str, int, float]] = []

  def run(self, batches: list[int]) -> None:
    """Prints a row for each mode and batch."""
    for mode in MODES:
      for batch_size in batches:
        try:
          first_seconds = self._first(mode, batch_size)
          self._time(mode, batch_size, first_seconds)
          self._measured.append((mode, batch_size, first_seconds))
        except Exception as error:  # of any kind: the other rows go on
          text = f"{type(error).__name__}: {cli.one_line(error)}"[:300]
          if isinstance(error, torch.OutOfMemoryError):
            text = "out of memory"
          _print({"missed": f"{mode}, batch {batch_size}: {text}"})
        self._forget()

  def again(self) -> None:
    """Prints all rows once more."""
    for row in self._measured:
      self._time(*row)
      self._forget()

  def _first(self, mode: str, batch_size: int) -> float:
    """Returns the seconds of the first call, in which compilation happens."""
    if mode not in self._trainings:
      options = MODES[mode]
      self._trainings[mode] = Training(self._settings, self._device, *options)
    training = self._trainings[mode]
    batch = training.batch(batch_size)
    started = time.perf_counter()
    training.step(batch)
    self._wait()
    return time.perf_counter() - started

  def _time(self, mode: str, batch_size: int, first_seconds: float) -> None:
    training, times = self._trainings[mode], []
    batch = training.batch(batch_size)
    with self._timing():
      if self._device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
      while len(times) <= self._calls and sum(times[1:]) < _MAX_SECONDS:
        started = time.perf_counter()
        loss = training.step(batch)
        self._wait()
        times.append(time.perf_counter() - started)
    peak = torch.cuda.max_memory_allocated() if self._device.type == "cuda" else 0
    _print(
      {
        "program": "diffusion step",
        "version": torch.__version__,
        "mode": mode,
        "precision": "float32" if self._device.type == "cpu" else "bf16",
        "batch_size": batch_size,
        "milliseconds": 1e3 * statistics.median(times[1:]),
        "num_calls": len(times) - 1,
        "first_seconds": first_seconds,
        "memory_gib": peak / 2**30,
        "is_finite": bool(torch.isfinite(loss)),
      }
    )

  def _wait(self) -> None:
    if self._device.type == "cuda":
      torch.cuda.synchronize()

  def _forget(self) -> None:
    """Gives unused memory back to the device."""
    if self._device.type == "cuda":
      torch.cuda.empty_cache()

  @contextlib.contextmanager
  def _timing(self) -> Iterator[None]:
    if self._lock is None:
      yield
      return
    with open(self._lock, "w") as file:
      fcntl.flock(file, fcntl.LOCK_EX)
      yield


def _print(row: dict[str, object]) -> None:
  print(json.dumps(row), flush=True)


def main() -> None:
  """Runs the reference."""
  parser = cli.make_parser("benchmarks.torch_reference.measure", __doc__)
  add = parser.add_argument
  add("--smoke", action="store_true", help="a tiny network, batch 2")
  add("--batches", default="8,32,2", help="in this order")
  add("--calls", type=cli.positive_int, default=10, help="of a step, timed")
  add("--lock", type=cli.local_path, help="file, locked while a step is timed")
  add("--again", action="store_true", help="wait for a line, then measure again")
  args = parser.parse_args()
  torch._dynamo.config.recompile_limit = 64
  reference = Reference(args)
  reference.run([2] if args.smoke else [int(b) for b in args.batches.split(",")])
  if args.again:
    _print({"done": True})
    if sys.stdin.readline():
      reference.again()


if __name__ == "__main__":
  main()
