r"""Compiles a pod's program without the pod: does it fit, and how fast could it be?

  python -m launch.compile_check --config=configs/diffusion.py:paper --topology=v5e:4x4
  python -m launch.compile_check --config=configs/autoencoder.py:paper \
    --topology=v5e:16x16 --config.model.dtype=bfloat16
  python -m launch.compile_check --config=configs/diffusion.py:paper \
    --topology=v4:2x2x4 --program=sampler

Runs on a machine with a CPU and libtpu (`pip install "dabfusion_jax[tpu]"`); one to
five minutes and about 3 GB each. The exit status is 0 if the program fits, else 1.
What it prints about time is a prediction, not a measurement.
"""

import dataclasses
import functools
import json
import pathlib
import re
import sys
import time
from collections.abc import Callable

import jax
from absl import app, flags, logging
from ml_collections import config_flags

from dabfusion_jax.parallel.hardware import CHIPS, Chip
from dabfusion_jax.settings.autoencoder import AutoencoderSettings
from dabfusion_jax.settings.config_files import load_config
from dabfusion_jax.settings.config_flag import config_of, parse_flags
from dabfusion_jax.settings.stages import read_settings
from data_pipeline.errors import UserError
from launch import collectives, programs
from launch.chips import find_chip, make_topology_mesh

# The training program has a flag of this name, and tests import both.
_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "FILE.py or FILE.py:VARIANT.", allow_override=True
)
_TOPOLOGY = flags.DEFINE_string(
  "topology", None, f"One of {', '.join(CHIPS)} and a shape, e.g. v5e:4x4."
)
_SLICES = flags.DEFINE_integer("num_slices", 1, "Slices of that shape.", lower_bound=1)
_PROGRAM = flags.DEFINE_enum(
  "program", "step", ["step", "sampler"], "Training step, or sampler of stage 2."
)
_BATCH = flags.DEFINE_integer(
  "batch_size", None, "Global. Default: the config's, rounded up to divide."
)
_SEARCH = flags.DEFINE_bool("largest_batch", False, "Find the largest that fits.")
_OUTPUT = flags.DEFINE_string("output", None, "JSON-lines file to append to.")

FORMULA = (
  "predicted seconds = max(FLOPs / peak, bytes / memory bandwidth)"
  " + bytes sent / interconnect bandwidth, per chip, at the published rates"
)

# "Used 18.6G of 15.75G hbm", or "... (19.08G) exceeds available HBM (15.75G)".
_TOO_LARGE = re.compile(
  r"([\d.]+)([KMGT])\)? (?:of|exceeds available HBM) \(?([\d.]+)([KMGT])\b"
)


@dataclasses.dataclass(frozen=True)
class Result:
  """The compiler's figures of one program; all are per chip."""

  program: str
  topology: str
  num_devices: int
  mesh: str
  batch_size: int  # global
  fits: bool
  hbm: float  # bytes needed
  hbm_of_chip: float  # bytes there
  flops: float
  bytes: float  # memory traffic
  collectives: dict[str, tuple[int, int]]  # kind -> (number, bytes)
  sent: float  # bytes over the interconnect
  seconds: float  # predicted
  xla_seconds: float  # XLA's own `optimal_seconds`
  compile_seconds: float


def roofline(chip: Chip, flops: float, accessed: float, sent: float) -> float:
  """Returns predicted seconds by `FORMULA`; no collective overlaps other work."""
  return (
    max(flops / chip.bf16_flops, accessed / chip.hbm_bandwidth)
    + sent / chip.link_bandwidth
  )


def compile_program(
  program: programs.Program, topology: str, mesh: jax.sharding.Mesh
) -> Result:
  """Compiles `program` for `mesh`; too large a program is a result, not an error."""
  chip = find_chip(topology)
  started = time.monotonic()
  hbm, hbm_of_chip, fits = 0.0, chip.hbm_bytes, True
  cost, found, repeats = {}, [], program.repeats
  # Less search for the best schedule: a third of the time, about the same figures.
  quick = jax.__version_info__ < (0, 11)
  options = {"exec_time_optimization_effort": -1.0} if quick else None
  try:
    with jax.set_mesh(mesh):
      lowered = program.function.lower(*program.arguments)
      compiled = lowered.compile(compiler_options=options)
  except jax.errors.JaxRuntimeError as error:
    used = _TOO_LARGE.search(str(error))
    if used is None:
      raise
    fits = False
    hbm, hbm_of_chip = _bytes(*used.groups()[:2]), _bytes(*used.groups()[2:])
  else:
    hbm = float(compiled.memory_analysis().peak_memory_in_bytes)
    cost = compiled.cost_analysis() or {}
    found = collectives.find_collectives(compiled.as_text(), mesh.size)
  flops = repeats * cost.get("flops", 0.0)
  accessed = repeats * cost.get("bytes accessed", 0.0)
  sent = repeats * sum(c.sent for c in found)
  return Result(
    program=program.name,
    topology=topology,
    num_devices=mesh.size,
    mesh=" x ".join(f"{name} {size}" for name, size in mesh.shape.items()),
    batch_size=program.batch_size,
    fits=fits,
    hbm=hbm,
    hbm_of_chip=hbm_of_chip,
    flops=flops,
    bytes=accessed,
    collectives=collectives.summarise(found),
    sent=sent,
    seconds=roofline(chip, flops, accessed, sent),
    xla_seconds=repeats * cost.get("optimal_seconds", 0.0),
    compile_seconds=time.monotonic() - started,
  )


def _bytes(number: str, unit: str) -> float:
  return float(number) * 2.0 ** (10 * (1 + "KMGT".index(unit)))


def find_largest_batch(
  compile_batch: Callable[[int], Result], unit: int, first: int
) -> Result:
  """Returns the result of the largest multiple of `unit` that fits, to a sixteenth.

  Memory is close to linear in the batch, so a guess lies on the line through the last
  two that fit. Nearer than that only halving helps: XLA first recomputes what it can,
  and a program that fails says little of how far it was from fitting.

  Raises:
    ValueError: not even one `unit` fits.
  """
  results = {}

  def check(units):
    if units not in results:
      results[units] = compile_batch(units * unit)
      logging.info("%s", describe(results[units]).splitlines()[0])
    return results[units]

  check(max(1, first // unit))
  while True:
    fitting = sorted(n for n, r in results.items() if r.fits)
    best = fitting[-1] if fitting else 0
    worst = min((n for n, r in results.items() if not r.fits), default=None)
    if worst is not None and worst - best <= max(1, best // 16):
      break
    guess = 2 * best
    if len(fitting) > 1:
      rise = results[best].hbm - results[fitting[-2]].hbm
      slope = rise / (best - fitting[-2])
      room = results[best].hbm_of_chip - results[best].hbm
      guess = best + max(1, int(room // slope)) if slope > 0 else 2 * best
    if worst is not None and guess >= worst:
      guess = (best + worst) // 2
    check(max(guess, best + 1))
  if not best:
    raise UserError(f"Not even a batch of {unit} fits: {describe(results[1])}")
  return results[best]


def describe(result: Result) -> str:
  """Returns a report of several lines; the first is the verdict."""
  gib = 2**30
  lines = [
    f"{'FITS' if result.fits else 'DOES NOT FIT'}: {result.program}, batch"
    f" {result.batch_size} on {result.num_devices} chips of {result.topology}"
    f" ({result.mesh}): {result.hbm / gib:.2f} of {result.hbm_of_chip / gib:.2f} GiB"
    f" a chip; compiled in {result.compile_seconds:.0f} s",
  ]
  if not result.fits:
    return lines[0]
  chip = find_chip(result.topology)
  peak = result.flops / chip.bf16_flops / result.seconds
  lines += [
    f"  {result.flops / 1e9:,.0f} GFLOP, {result.bytes / 1e9:.1f} GB of memory"
    f" traffic, {result.sent / 1e6:.0f} MB sent, a chip",
    *(
      f"  {kind}: {number}, {size / 1e6:.1f} MB"
      for kind, (number, size) in result.collectives.items()
    ),
    f"  predicted {1e3 * result.seconds:.1f} ms, {100 * peak:.0f} % of the bf16 peak;"
    f" XLA's optimal_seconds: {1e3 * result.xla_seconds:.1f} ms",
    f"  {FORMULA}",
  ]
  return "\n".join(lines)


def load_stage1_settings(variant: str) -> AutoencoderSettings:
  """Returns the auto-encoder's settings from the file beside the diffusion config."""
  path = pathlib.Path(config_flags.get_config_filename(flags.FLAGS["config"]))
  return load_config(path.with_name("autoencoder.py"), variant)


def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f"Unexpected argument {argv[1]!r}.")
  try:
    settings = read_settings(config_of(_CONFIG), strict=True)
    mesh = make_topology_mesh(_TOPOLOGY.value, _SLICES.value, settings.mesh)
    if _PROGRAM.value == "sampler" and settings.stage != "diffusion":
      raise UserError("Only a diffusion config has a sampler.")
    stage1 = None
    if settings.stage == "diffusion":
      stage1 = load_stage1_settings(settings.variant)
    make = programs.make_step_program
    if _PROGRAM.value == "sampler":
      make = programs.make_sampler_program

    def check(batch_size):
      program = make(settings, stage1, mesh, batch_size)
      return compile_program(program, _TOPOLOGY.value, mesh)

    first = _BATCH.value or programs.round_up_batch(settings, mesh)
    if _SEARCH.value:
      unit = mesh.size * settings.gradient_accumulation
      result = find_largest_batch(check, unit, first)
    else:
      result = check(first)
  except (UserError, RuntimeError) as error:
    sys.exit(f"compile_check: {error}")
  print(describe(result))
  if _OUTPUT.value:
    with pathlib.Path(_OUTPUT.value).open("a") as file:
      file.write(json.dumps(dataclasses.asdict(result)) + "\n")
  sys.exit(0 if result.fits else 1)


if __name__ == "__main__":
  flags.mark_flags_as_required(["config", "topology"])
  logging.set_verbosity(logging.INFO)
  app.run(main, flags_parser=functools.partial(parse_flags, "compile_check"))
