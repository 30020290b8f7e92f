r"""How fast this project is on a CPU, as ratios to PyTorch at its best.

  python -m benchmarks.against_torch --output=against_torch.json [--before=FILE --smoke]

Times the same computations, in float32 at the paper's size, in both frameworks in
turn, each pair in a process of its own: medians of wall time and of the CPU seconds of
all threads. JAX uses one device, a training step also one per core, as
`train` does; PyTorch runs eager and channels last. Ratios are ours over PyTorch's:
below 1 we are faster. "At the rate of a product" is the ratio if our operations ran as
fast as a product of two large matrices, in whichever framework is faster. They are
counted as other platforms run them: decoding and stage 1 need fewer on a CPU, so for
them it is no bound. `--before` is the file of an earlier run on the same machine, and
ratios that are more than a tenth larger than there are named. Both frameworks should
get memory in large pages (`make bench` sets it so).
"""

import argparse
import concurrent.futures
import importlib.util
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any

from dabfusion_jax.parallel import hardware
from data_pipeline import cli, files
from data_pipeline.errors import UserError

# Methods of `torch_reference.pairs.Pairs`, in the order of the table.
NAMES = (
  "product",
  "unet_forward",
  "unet_backward",
  "guided_step",
  "stage1_step",
  "stage1_step_over_devices",
  "decoding",
  "warp",
)
# The largest ratio of wall times wanted, by the beginning of a name.
GOALS = {
  "U-Net forward and backward": 0.70,
  "U-Net forward": 0.45,
  "guided sampling step": 0.35,
  "stage-1 step": 0.9,
  "decoding": 0.8,
  "warp of z with gradient": 1.0,
}
_WORSE = 1.1
_CALLS = 3  # of a side in its turn
HEAD = (
  "| computation | ours ms | torch ms | ratio | goal | at the rate of a product"
  " | ours CPU ms | torch CPU ms | CPU ratio |\n" + "|---" * 9 + "|"
)


def run(args: argparse.Namespace) -> None:
  """Measures, prints a table in markdown, writes the JSON."""
  if importlib.util.find_spec("torch") is None:
    raise UserError(
      "PyTorch is not installed, so there is nothing to compare with; get it with:"
      " pip install torch"
    )
  before = _ratios(files.read_json(args.before)) if args.before else {}
  files.check_writable(args.output, is_folder=False)
  variant = "smoke" if args.smoke else "paper"
  content: dict[str, Any] = {
    "jax": metadata.version("jax"),
    "torch": metadata.version("torch"),
    "cpus": os.cpu_count(),
    "load": os.getloadavg()[0],  # what other programs keep busy
    "variant": variant,
    "rows": [],
  }
  print(HEAD, flush=True)
  for name in NAMES:
    # In a process of its own: what others leave in memory changes times by a third.
    with concurrent.futures.ProcessPoolExecutor(
      1, multiprocessing.get_context("spawn")
    ) as process:
      row = process.submit(time_pair, name, variant, args.turns).result()
    if row is None:
      continue
    content["rows"].append(row)
    row["ratio_at_product"] = ratio_at_product(row, content["rows"][0])
    files.write_json(args.output, content)
    print(line(row), flush=True)
  for name, ratio in _ratios(content).items():
    if name in before and ratio > _WORSE * before[name]:
      print(f"- worse than before: {name}, {ratio:.2f} instead of {before[name]:.2f}")


def time_pair(name: str, variant: str, num_turns: int) -> dict[str, Any] | None:
  """Returns the row of a pair; None if it is none on this machine."""
  import torch

  from benchmarks.torch_reference.pairs import Pairs

  hardware.use_cpu_cores()
  hardware.check_backend()
  pair = getattr(Pairs(variant), name)()
  if pair is None:
    return None
  row = {"name": pair.name, "gflop": pair.gflop}
  row["torch_threads"] = torch.get_num_threads()
  return row | time_in_turn(pair.ours, pair.torch, num_turns)


def time_in_turn(
  ours: Callable[[], Any], theirs: Callable[[], Any], num_turns: int
) -> dict[str, float]:
  """Returns medians of wall and CPU milliseconds of both, and their ratios.

  In each turn a side runs `_CALLS` times, and the last is timed: the system takes back
  memory while the other side runs, and hands it out anew in the first calls.
  """
  times: dict[str, list[float]] = {
    name: [] for name in ("ours", "torch", "ours_cpu", "torch_cpu")
  }
  for _ in range(num_turns):
    for name, function in (("ours", ours), ("torch", theirs)):
      for _ in range(_CALLS):
        wall, cpu = time.perf_counter(), time.process_time()
        function()
      times[name].append(time.perf_counter() - wall)
      times[f"{name}_cpu"].append(time.process_time() - cpu)
  medians = {name: 1e3 * statistics.median(values) for name, values in times.items()}
  return {f"{name}_ms": value for name, value in medians.items()} | {
    "ratio": medians["ours"] / medians["torch"],
    "cpu_ratio": medians["ours_cpu"] / medians["torch_cpu"],
    "num_turns": num_turns,
  }


def ratio_at_product(row: dict[str, Any], product: dict[str, Any]) -> float:
  """Returns the ratio of a row if it ran at the rate of the row `product`."""
  fastest = min(product["ours_ms"], product["torch_ms"])
  return row["gflop"] * fastest / product["gflop"] / row["torch_ms"]


def line(row: dict[str, Any]) -> str:
  """Returns one row of the table."""
  possible = f"{row['ratio_at_product']:.2f}" if row["ratio_at_product"] else ""
  goal = next((g for name, g in GOALS.items() if row["name"].startswith(name)), "")
  return (
    f"| {row['name']} | {row['ours_ms']:.1f} | {row['torch_ms']:.1f} |"
    f" {row['ratio']:.2f} | {goal} | {possible} | {row['ours_cpu_ms']:.1f} |"
    f" {row['torch_cpu_ms']:.1f} | {row['cpu_ratio']:.2f} |"
  )


def _ratios(content: dict[str, Any]) -> dict[str, float]:
  try:
    return {row["name"]: float(row["ratio"]) for row in content["rows"]}
  except (KeyError, TypeError, ValueError):
    raise UserError(
      "--before is not a file of benchmarks.against_torch; give its --output."
    ) from None


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the comparison."""
  parser = cli.make_parser("benchmarks.against_torch", __doc__)
  add = parser.add_argument
  add("--smoke", action="store_true", help="tiny networks")
  add("--turns", type=cli.positive_int, default=5, help="of each side")
  add("--before", type=cli.local_path, help="JSON of an earlier run")
  add("--output", type=cli.local_path, required=True, help="JSON")
  args = parser.parse_args(argv)
  with cli.one_line_errors("against_torch"):
    run(args)


if __name__ == "__main__":
  main()
