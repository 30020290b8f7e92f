r"""Compile-check results as a markdown table.

python -m launch.compile_check --config=... --topology=... --output=results.jsonl
python -m launch.scaling_table results.jsonl
"""

import json
import pathlib
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from dabfusion_jax.parallel.hardware import CHIPS

COLUMNS = (
  *("program", "topology", "mesh", "global batch", "memory GiB of", "GFLOP"),
  *("traffic GB", "collectives (count, output MB)", "predicted ms", "XLA's ms"),
  *("share of peak", "compile s"),
)
_SHORT = {"all-gather": "gather", "all-reduce": "reduce", "reduce-scatter": "scatter"}


def table(results: Iterable[Mapping[str, Any]]) -> str:
  """Returns one row per result; figures are per chip, times are predictions."""
  rows = [COLUMNS, ["---"] * len(COLUMNS), *(row(result) for result in results)]
  return "\n".join(f"| {' | '.join(cells)} |" for cells in rows) + "\n"


def row(result: Mapping[str, Any]) -> list[str]:
  """Returns the cells of one result."""
  memory = f"{result['hbm'] / 2**30:.2f} of {result['hbm_of_chip'] / 2**30:.2f}"
  cells = [
    *(result["program"], result["topology"], result["mesh"].replace(" x ", " × ")),
    *(str(result["batch_size"]), memory),
  ]
  if not result["fits"]:
    cells[-1] += " **does not fit**"
    return cells + ["-"] * (len(COLUMNS) - len(cells))
  moved = ", ".join(
    f"{_SHORT.get(kind, kind)} {number} ({size / 1e6:,.1f})"
    for kind, (number, size) in result["collectives"].items()
    if size >= 1e5
  )
  chip = CHIPS[result["topology"].partition(":")[0]]
  share = result["flops"] / chip.bf16_flops / result["seconds"]
  return [
    *cells,
    f"{result['flops'] / 1e9:,.0f}",
    f"{result['bytes'] / 1e9:,.1f}",
    moved or "none",
    f"{1e3 * result['seconds']:,.1f}",
    f"{1e3 * result['xla_seconds']:,.1f}",
    f"{100 * share:.0f} %",
    f"{result['compile_seconds']:.0f}",
  ]


if __name__ == "__main__":
  if len(sys.argv) != 2:
    sys.exit("Usage: python -m launch.scaling_table RESULTS.jsonl")
  lines = pathlib.Path(sys.argv[1]).read_text().splitlines()
  print(table(json.loads(line) for line in lines), end="")
