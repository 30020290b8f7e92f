r"""How fast this project is on a CPU, as ratios to PyTorch at its best.

  python -m benchmarks.against_torch --output=against_torch.json [--before=FILE --smoke]

Times the same computations, in float32 at the paper's size, in both frameworks in
turn, after a warm-up: medians of wall time and of the CPU seconds of all threads. JAX
uses one device, a training step also one per core, as `train` does; PyTorch runs eager
and channels last. Ratios are ours over PyTorch's: below 1 we are faster. "At the rate
of a product" is the ratio if our operations ran as fast as a product of two large
matrices, in whichever framework is faster. They are counted as other platforms run
them: decoding and stage 1 need fewer on a CPU, so for them it is no bound. All come
from one run on one machine; `--before` is the file of an earlier run, and ratios that
are more than a tenth larger than there are named. Both frameworks should get memory in
large pages (`make bench` sets it so).
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax

from dabfusion_jax.parallel import hardware
from data_pipeline import cli, files
from data_pipeline.errors import UserError

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
HEAD = (
  "| computation | ours ms | torch ms | ratio | goal | at the rate of a product"
  " | ours CPU ms | torch CPU ms | CPU ratio |\n" + "|---" * 9 + "|"
)


def run(args: argparse.Namespace) -> None:
  """Measures, prints a table in markdown, writes the JSON."""
  try:
    import torch
  except ModuleNotFoundError:
    raise UserError(
      "PyTorch is not installed, so there is nothing to compare with; get it with:"
      " pip install torch"
    ) from None
  from benchmarks.torch_reference.pairs import make_pairs

  hardware.use_cpu_cores()
  hardware.check_backend()
  before = _ratios(files.read_json(args.before)) if args.before else {}
  files.check_writable(args.output, is_folder=False)
  content: dict[str, Any] = {
    "jax": jax.__version__,
    "torch": torch.__version__,
    "cpus": os.cpu_count(),
    "torch_threads": torch.get_num_threads(),
    "load": os.getloadavg()[0],  # what other programs keep busy
    "variant": "smoke" if args.smoke else "paper",
    "rows": [],
  }
  print(HEAD, flush=True)
  for pair in make_pairs(content["variant"]):
    row = {"name": pair.name, "gflop": pair.gflop}
    row |= time_in_turn(pair.ours, pair.torch, args.calls)
    content["rows"].append(row)
    row["ratio_at_product"] = ratio_at_product(row, content["rows"][0])
    files.write_json(args.output, content)
    print(line(row), flush=True)
  for name, ratio in _ratios(content).items():
    if name in before and ratio > _WORSE * before[name]:
      print(f"- worse than before: {name}, {ratio:.2f} instead of {before[name]:.2f}")


def time_in_turn(
  ours: Callable[[], Any], theirs: Callable[[], Any], num_calls: int
) -> dict[str, float]:
  """Returns medians of wall and CPU milliseconds of both, and their ratios."""
  times: dict[str, list[float]] = {
    name: [] for name in ("ours", "torch", "ours_cpu", "torch_cpu")
  }
  for call in range(num_calls + 1):
    for name, function in (("ours", ours), ("torch", theirs)):
      wall, cpu = time.perf_counter(), time.process_time()
      function()
      if call:  # the first one warms up
        times[name].append(time.perf_counter() - wall)
        times[f"{name}_cpu"].append(time.process_time() - cpu)
  medians = {name: 1e3 * statistics.median(values) for name, values in times.items()}
  return {f"{name}_ms": value for name, value in medians.items()} | {
    "ratio": medians["ours"] / medians["torch"],
    "cpu_ratio": medians["ours_cpu"] / medians["torch_cpu"],
    "num_calls": num_calls,
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
  add("--calls", type=cli.positive_int, default=5, help="of each side, timed")
  add("--before", type=cli.local_path, help="JSON of an earlier run")
  add("--output", type=cli.local_path, required=True, help="JSON")
  args = parser.parse_args(argv)
  with cli.one_line_errors("against_torch"):
    run(args)


if __name__ == "__main__":
  main()
