r"""How fast both stages train, sample and decode on the device that is here.

  python -m benchmarks.accelerator --output=accelerator.json [--seconds=220]
  python -m benchmarks.accelerator --smoke --output=smoke.json    # tiny, for a CPU

Measures on the first device, from the numbers of `program_times.fill`: neither data nor
weights are needed, and time does not depend on them. Batches grow fourfold until memory
or `--seconds` end; what was not reached is listed. The share of peak is

  operations of the program as written / (median seconds x bf16 peak of the device)

for every precision, and is not computed for devices missing in `hardware.CHIPS`. The
same losses, samples and frames are computed on the CPU at smoke size, in float32, and
the largest difference relative to the largest value is compared with a tolerance.
"""

import argparse
import collections
import dataclasses
import pathlib
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from benchmarks.program_times import (
  ProgramTimes,
  TooLargeError,
  run_once,
  time_program,
)
from dabfusion_jax.parallel import hardware, sharding
from dabfusion_jax.settings.autoencoder import AutoencoderSettings
from dabfusion_jax.settings.config_files import load_config
from dabfusion_jax.settings.diffusion import DiffusionSettings
from data_pipeline import cli, files
from launch import programs
from launch.programs import Program

_CONFIGS = pathlib.Path(__file__).parent.parent / "configs"
# Name -> (dtype of activations, precision of products of float32). On TPUs JAX takes
# "tensorfloat32" as three passes of bf16.
PRECISIONS = {
  "float32": ("float32", "highest"),
  "tf32": ("float32", "tensorfloat32"),
  "bf16": ("bfloat16", "default"),
}
TOLERANCE = 1e-3  # of the CPU comparison, relative to the largest value
FPS = 10.0  # of the clips, for seconds of dance

Settings = AutoencoderSettings | DiffusionSettings


@dataclasses.dataclass(frozen=True)
class Job:
  """One program at one precision, to be measured at growing batches."""

  make: Callable[[Settings, AutoencoderSettings, jax.sharding.Mesh, int], Program]
  stage: str  # whose settings it takes
  precision: str
  first_batch: int
  last_batch: int  # at most


def make_step(
  settings: Settings,
  stage1: AutoencoderSettings,
  mesh: jax.sharding.Mesh,
  batch_size: int,
) -> Program:
  """Returns the training step of either stage."""
  return programs.make_step_program(settings, stage1, mesh, batch_size)


def jobs(smoke: bool) -> Iterator[Job]:
  """Yields what is measured, the most telling first."""
  last = 2 if smoke else 1024
  # A CPU has no tf32.
  for precision in ("bf16", "float32") if smoke else ("bf16", "tf32", "float32"):
    yield Job(make_step, "diffusion", precision, 2, last)
    yield Job(programs.make_sampler_program, "diffusion", precision, 1, min(last, 4))
    yield Job(make_step, "autoencoder", precision, 2, last)
    yield Job(programs.make_decoder_program, "diffusion", precision, 1, min(last, 4))


def read_settings(variant: str, precision: str) -> dict[str, Settings]:
  """Returns the settings of both stages, by name, at a precision."""
  dtype = PRECISIONS[precision][0]
  stage1 = load_config(_CONFIGS / "autoencoder.py", variant)
  stage2 = load_config(_CONFIGS / "diffusion.py", variant)
  replace = dataclasses.replace
  # The loop's accumulation would hide the largest batch.
  stage1 = replace(
    stage1, gradient_accumulation=1, model=replace(stage1.model, dtype=dtype)
  )
  stage2 = replace(
    stage2, gradient_accumulation=1, unet=replace(stage2.unet, dtype=dtype)
  )
  return {"autoencoder": stage1, "diffusion": stage2}


def measure(
  smoke: bool, seconds: float, num_calls: int
) -> tuple[list[ProgramTimes], list[str]]:
  """Returns what was measured, and lines on what was not."""
  mesh = _mesh(jax.local_devices()[0])
  variant = "smoke" if smoke else "paper"
  started, rows, missed = time.monotonic(), [], []
  # Every program at its smallest batch before any at a larger one.
  queue = collections.deque((job, job.first_batch, 0.0) for job in jobs(smoke))
  while queue:
    job, batch_size, last_seconds = queue.popleft()
    begun = time.monotonic()
    name = f"{job.make.__name__} of {job.stage}, {job.precision}, batch {batch_size}"
    # A larger batch takes about as long as the one before, since compilation prevails.
    if begun - started + last_seconds > seconds:
      missed.append(f"{name}: out of time")
      continue
    settings = read_settings(variant, job.precision)
    program = job.make(settings[job.stage], settings["autoencoder"], mesh, batch_size)
    try:
      with jax.default_matmul_precision(PRECISIONS[job.precision][1]):
        row = time_program(program, job.precision, mesh, num_calls)
    except TooLargeError:
      missed.append(f"{name}: out of memory")
      continue
    rows.append(row)
    print(line(row), flush=True)
    if 4 * batch_size <= job.last_batch:
      queue.append((job, 4 * batch_size, time.monotonic() - begun))
  return rows, missed


def compare_with_cpu() -> dict[str, float] | None:
  """Returns the relative difference from the CPU of each program at smoke size.

  None: the device is a CPU, or JAX offers none beside it.
  """
  device = jax.local_devices()[0]
  try:
    reference = jax.local_devices(backend="cpu")[0]
  except RuntimeError:
    return None
  if device.platform == "cpu":
    return None
  settings = read_settings("smoke", "float32")
  stage1, found = settings["autoencoder"], {}
  with jax.default_matmul_precision("highest"):
    for make, stage in (
      (make_step, "autoencoder"),
      (make_step, "diffusion"),
      (programs.make_sampler_program, "diffusion"),
      (programs.make_decoder_program, "diffusion"),
    ):
      results = []
      for mesh in (_mesh(device), _mesh(reference)):
        program = make(settings[stage], stage1, mesh, 2)
        result = run_once(program, mesh)
        if program.name.endswith(" step"):
          result = result[1]["loss"]  # Adam divides small gradients by their own size
        results.append(result)
      found[program.name] = difference(*results)
  return found


def difference(ours: Any, theirs: Any) -> float:
  """Returns the largest difference of two trees, relative to the largest value."""
  pairs = zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True)
  return max(
    float(np.max(np.abs(a - b)) / max(np.max(np.abs(b)), 1e-30)) for a, b in pairs
  )


def dance_seconds(settings: DiffusionSettings, batch_size: int) -> float:
  """Returns the seconds of dance in a batch of clips."""
  return batch_size * settings.data.num_frames / FPS


def rates(rows: Sequence[ProgramTimes], smoke: bool, steps: int) -> Iterator[str]:
  """Yields lines on seconds of dance per second, sampled and decoded."""
  settings = read_settings("smoke" if smoke else "paper", "float32")["diffusion"]
  for row in rows:
    seconds = row.milliseconds / 1e3
    of = f"{row.precision}, batch {row.batch_size}"
    made = dance_seconds(settings, row.batch_size)
    if row.program.startswith("sampler"):
      yield f"sampled in {steps} steps, {of}: {made / seconds / steps:.3g} s of dance/s"
    elif row.program == "decoder":
      yield f"decoded, {of}: {made / seconds:.3g} s of dance/s"


HEAD = (
  "| program | precision | batch | ms | examples/s | compile s | from cache s"
  " | memory GiB | GFLOP | share of bf16 peak |\n" + "|---" * 10 + "|"
)


def line(row: ProgramTimes) -> str:
  """Returns one row of the table."""
  share = row.flop_utilisation
  finite = "" if row.is_finite else " (not finite)"
  cells = (
    row.program.partition(",")[0] + finite,
    row.precision,
    row.batch_size,
    f"{row.milliseconds:.2f}",
    f"{1e3 * row.batch_size / row.milliseconds:.1f}",
    f"{row.compile_seconds:.1f}",
    f"{row.cached_compile_seconds:.1f}",
    f"{row.memory_gib:.2f}",
    f"{row.gflop:.1f}",
    "not computed" if share is None else f"{100 * share:.1f} %",
  )
  return f"| {' | '.join(map(str, cells))} |"


def _mesh(device: jax.Device) -> jax.sharding.Mesh:
  return sharding.mesh_of([device], (("data", 1), ("fsdp", 1)))


def run(args: argparse.Namespace) -> bool:
  """Measures, prints, writes the JSON; returns whether the CPU agrees."""
  hardware.check_backend()
  files.check_writable(args.output, is_folder=False)
  device = jax.local_devices()[0]
  print(f"{device.device_kind}, jax {jax.__version__}\n\n{HEAD}")
  # First and small, so that it never falls victim to the clock.
  compared = compare_with_cpu()
  rows, missed = measure(args.smoke, args.seconds, args.calls)
  print()
  for text in (*rates(rows, args.smoke, args.steps), *missed):
    print(f"- {text}")
  for name, value in (compared or {}).items():
    print(f"- {name}: differs from the CPU by {value:.1e} (at most {TOLERANCE:g})")
  if compared is None:
    print("- difference from the CPU: not computed, this is a CPU")
  name, memory = hardware.peak_memory()
  print(f"- {name}: {memory:.2f}")
  files.write_json(
    args.output,
    {
      "device": device.device_kind,
      "jax": jax.__version__,
      "python": platform.python_version(),
      "arguments": sys.argv[1:],
      "programs": [dataclasses.asdict(row) for row in rows],
      "not_measured": missed,
      # JSON has no nan; null then: a result was not finite.
      "difference_from_cpu": compared
      and {n: v if np.isfinite(v) else None for n, v in compared.items()},
      name: memory,
    },
  )
  # Written so that nan counts as a difference.
  return all(value <= TOLERANCE for value in (compared or {}).values())


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the measurement; exit status 1 if the CPU gives something else."""
  parser = cli.make_parser("benchmarks.accelerator", __doc__)
  add = parser.add_argument
  add("--smoke", action="store_true", help="tiny networks and batches")
  add("--seconds", type=cli.positive_float, default=220, help="no new program after")
  add("--calls", type=cli.positive_int, default=10, help="of a program, timed")
  add("--steps", type=cli.positive_int, default=25, help="of a sample, for its rate")
  add("--output", type=cli.local_path, required=True, help="JSON")
  args = parser.parse_args(argv)
  with cli.one_line_errors("accelerator"):
    agrees = run(args)
  if not agrees:
    sys.exit("accelerator: the results differ from those of the CPU; see above.")


if __name__ == "__main__":
  main()
