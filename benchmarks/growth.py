r"""How time and memory grow: with frames, resolution, batch, and devices.

  python -m benchmarks.growth --output=runs/bench/growth [--variant=people]

Compiles the programs of a variant at several sizes and measures warm calls on one CPU
device, without data or weights. A sampling step of `frames` draws them all at once; a
dance of any length is drawn in windows, and grows in proportion whatever this says.
Resolutions are those of the whole model: flow and latent image grow with the frame.

Prints time and memory (the peak that XLA counts, arguments included) and how each
grows: the exponent p between a size and the one before it, if cost is size ** p. So 1
is in proportion; sizes of images are counted in pixels. Devices are simulated on the
host, so their time says nothing and is left out; memory is that of one device. The
chart shows the cost per frame, pixel or example over that at the smallest size.
"""

import argparse
import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence

import jax

from benchmarks import program_times
from benchmarks.accelerator_tasks import GUIDANCE, first_device_mesh, read_settings
from configs.common import VARIANTS
from dabfusion_jax.evaluation.reporting import chart, markdown
from dabfusion_jax.evaluation.scoring.aggregate import Estimate
from dabfusion_jax.parallel import hardware, sharding
from dabfusion_jax.settings.autoencoder import AutoencoderSettings
from dabfusion_jax.settings.diffusion import DiffusionSettings
from data_pipeline import cli, files
from launch import programs
from launch.programs import Program

FRAMES = (40, 80, 160, 640)
SIDES = (1, 2, 4)  # over that of the variant
BATCHES = DEVICES = (1, 2, 4, 8)
_HEAD = ["what grows", "program", "size", "ms", "exponent", "MiB", "exponent"]


@dataclasses.dataclass(frozen=True)
class Point:
  """One program at one size."""

  axis: str
  program: str
  size: int
  milliseconds: float | None  # None: it says nothing
  mebibytes: float | None  # None: not known


def points(
  stage1: AutoencoderSettings, stage2: DiffusionSettings, num_calls: int
) -> Iterator[Point]:
  """Yields what is measured, axis by axis, sizes of a program in rising order."""
  mesh, replace = first_device_mesh(), dataclasses.replace
  drawing = {
    "sampling step": programs.make_sampler_program,
    "decoder": programs.make_decoder_program,
  }
  for name, make in drawing.items():
    for frames in FRAMES:
      longer = replace(stage2, data=replace(stage2.data, num_frames=frames))
      program = make(longer, stage1, mesh, 1)
      yield measure("frames", name, frames, program, mesh, num_calls)
  for name, make in drawing.items():
    for side in (stage1.data.frame_size * factor for factor in SIDES):
      larger = replace(stage1, data=replace(stage1.data, frame_size=side))
      program = make(stage2, larger, mesh, 1)
      yield measure("pixels of a frame", name, side**2, program, mesh, num_calls)
  step1 = lambda mesh, batch: programs.make_step_program(stage1, None, mesh, batch)
  step2 = lambda mesh, batch: programs.make_step_program(stage2, stage1, mesh, batch)
  for name, make_step in {"stage-1 step": step1, "stage-2 step": step2}.items():
    for batch in BATCHES:
      program = make_step(mesh, batch)
      yield measure("batch", name, batch, program, mesh, num_calls)
  largest = BATCHES[-1]
  for name, make_step in {"stage-1 step": step1, "stage-2 step": step2}.items():
    for number in DEVICES:
      split = sharding.mesh_of(
        jax.local_devices()[:number], (("data", number), ("fsdp", 1))
      )
      program = make_step(split, largest)
      yield measure("devices", name, number, program, split, 0)


def measure(
  axis: str,
  name: str,
  size: int,
  program: Program,
  mesh: jax.sharding.Mesh,
  num_calls: int,
) -> Point:
  """Compiles a program and times its calls, if any."""
  traced = program_times.trace_program(program, mesh)
  compiled = program_times.compile_program(traced, mesh)
  memory = program_times.peak_gib(compiled.call)
  milliseconds = None
  if num_calls:
    times = program_times.time_program(
      program, traced, compiled, "float32", mesh, num_calls
    )
    milliseconds = times.milliseconds
  return Point(
    axis, name, size, milliseconds, None if memory is None else 1024 * memory
  )


def exponent(
  before: Point | None, point: Point, cost: Callable[[Point], float | None]
) -> str:
  """Returns p if cost is size ** p between two points; "" if one of them has none."""
  if before is None or (before.axis, before.program) != (point.axis, point.program):
    return ""
  first, second = cost(before), cost(point)
  if first is None or second is None:
    return ""
  return f"{math.log(second / first) / math.log(point.size / before.size):.2f}"


def row(before: Point | None, point: Point) -> list[str]:
  """Returns the cells of a row of the table."""
  time, memory = lambda p: p.milliseconds, lambda p: p.mebibytes
  show = lambda value: "" if value is None else f"{value:.0f}"
  return [
    point.axis,
    point.program,
    f"{point.size:,}",
    show(point.milliseconds),
    exponent(before, point, time),
    show(point.mebibytes),
    exponent(before, point, memory),
  ]


def draw(measured: Sequence[Point]) -> str:
  """Returns a chart of the cost per unit over that at the smallest size."""
  panels: dict[str, dict[str, list[tuple[int, Estimate]]]] = {}
  first: dict[tuple[str, str], float] = {}
  for point in measured:
    title = f"{point.program}, {point.axis}"
    # A device has its part of the batch: there the cost of all of them.
    share = point.size if point.axis == "devices" else 1 / point.size
    for kind, cost in (("time", point.milliseconds), ("memory", point.mebibytes)):
      if cost is None:
        continue
      relative = cost * share / first.setdefault((title, kind), cost * share)
      curve = panels.setdefault(title, {}).setdefault(kind, [])
      curve.append((point.size, Estimate(relative, None, 1, 1)))
  return chart.curves("Cost per frame, pixel, example and device", panels)


def main(argv: Sequence[str] | None = None) -> None:
  """Measures, prints a table in markdown, writes JSON and a chart."""
  parser = cli.make_parser("benchmarks.growth", __doc__)
  add = parser.add_argument
  add("--variant", choices=VARIANTS, default="people", help="of both configs")
  add("--calls", type=cli.positive_int, default=3, help="of each program, timed")
  add("--output", type=cli.local_path, required=True, help="folder")
  args = parser.parse_args(argv)
  with cli.one_line_errors("growth"):
    run(args)


def run(args: argparse.Namespace) -> None:
  """Runs the command line."""
  jax.config.update("jax_num_cpu_devices", max(DEVICES))
  hardware.check_backend()
  files.check_writable(args.output, is_folder=True)
  settings = read_settings(args.variant, "float32", GUIDANCE)
  measured: list[Point] = []
  print(markdown.table(_HEAD, []), end="", flush=True)
  for point in points(settings["autoencoder"], settings["diffusion"], args.calls):
    before = measured[-1] if measured else None
    print(f"| {' | '.join(row(before, point))} |", flush=True)
    measured.append(point)
    listed = [dataclasses.asdict(each) for each in measured]
    content = {"variant": args.variant, "points": listed}
    files.write_json(args.output / "growth.json", content)
  with files.whole_file(args.output / "growth.svg") as file:
    file.write_text(draw(measured))


if __name__ == "__main__":
  main()
