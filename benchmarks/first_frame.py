r"""Where the time goes from the start of a process to a finished dance of 4 s.

  python -m benchmarks.first_frame [--runs=3 --checkpoint=dance_e]

A dance by the bundled weights, of a generated dancer to a generated song, in new
processes: with nothing kept, with what the first one has kept (compiled programs), and
once more in the same process, with another seed. Prints the seconds of each phase, wall
and CPU of all threads, as medians. Compiling happens beside the listening to the music,
in other threads. Other programs on the machine change wall times most.
"""

import argparse
import collections
import dataclasses
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence

from data_pipeline import cli, files
from data_pipeline.synthdance.example import example_inputs

PHASES = (
  "start and imports",
  "reading weights",
  "picture and music",
  "first step",
  "other steps",
  "drawing and writing",
)
_COMPILE = "/jax/core/compile/backend_compile_duration"
_WHOLE, _COMPILING, _COMPILED = "all", "compiling, in all threads", "programs compiled"


@dataclasses.dataclass
class Clock:
  """Tells phases apart: seconds of wall and CPU since the phase before."""

  wall: float  # of `time.monotonic`, which all processes share
  cpu: float = 0.0
  phases: dict[str, tuple[float, float]] = dataclasses.field(default_factory=dict)

  def end(self, phase: str) -> None:
    """Ends a phase."""
    times = os.times()
    wall, cpu = time.monotonic(), times.user + times.system
    self.phases[phase] = (wall - self.wall, cpu - self.cpu)
    self.wall, self.cpu = wall, cpu


def dance(clock: Clock, pipeline, inputs, output: pathlib.Path, seed: int) -> None:
  """Makes a dance and tells its phases to the clock."""

  def show(done: int, total: int) -> None:
    if done == 1:
      clock.end("first step")
    if done == total:
      clock.end("other steps")

  made = pipeline.stream(*inputs, drawing="decoder", seed=seed, callback=show)
  clock.end("picture and music")
  made.save(output)
  clock.end("drawing and writing")


def run_child(started: float, checkpoint: str, inputs: Sequence[str]) -> None:
  """Makes two dances in this process; prints a JSON list of the phases of each."""
  clock = Clock(started)
  import jax

  from dabfusion_jax.parallel.compiled import keep_compiled
  from dabfusion_jax.pipeline import DancePipeline

  clock.end("start and imports")
  seconds: list[float] = []

  def listen(event: str, duration: float, **unused: object) -> None:
    if event == _COMPILE:
      seconds.append(duration)

  jax.monitoring.register_event_duration_secs_listener(listen)
  keep_compiled()
  pipeline = DancePipeline.from_pretrained(checkpoint)
  clock.end("reading weights")
  dances = []
  with tempfile.TemporaryDirectory() as folder:
    for seed in range(2):
      dance(clock, pipeline, inputs, pathlib.Path(folder) / "dance.mp4", seed)
      about = {_COMPILING: (sum(seconds), None), _COMPILED: (len(seconds), None)}
      dances.append(clock.phases | about)
      clock.phases = {}
      seconds.clear()
  print(json.dumps(dances))


def run_process(
  checkpoint: str, inputs: Sequence[pathlib.Path], cache: str
) -> list[dict[str, list[float]]]:
  """Returns the phases of two dances in a new process with a folder for its cache."""
  environment = os.environ | {files.VARIABLE: cache}
  environment.pop("JAX_COMPILATION_CACHE_DIR", None)
  command = [sys.executable, "-m", "benchmarks.first_frame", "--child"]
  command += [str(time.monotonic()), checkpoint, *map(str, inputs)]
  done = subprocess.run(
    command, env=environment, stdout=subprocess.PIPE, text=True, check=True
  )
  return json.loads(done.stdout.splitlines()[-1])


def table(runs: Mapping[str, Sequence[Mapping[str, Sequence[float]]]]) -> str:
  """Returns medians over the runs of each case, a row for each phase.

  Args:
    runs: by the name of the case: (wall, CPU) by phase, of each run.
  """
  rows = [
    "| phase | " + " | ".join(f"{case}: wall | CPU" for case in runs) + " |",
    "|---" * (1 + 2 * len(runs)) + "|",
  ]
  for phase in (*PHASES, _WHOLE, _COMPILING, _COMPILED):
    cells = [phase]
    for times in runs.values():
      for kind in range(2):
        values = [_value(one, phase, kind) for one in times]
        known = [value for value in values if value is not None]
        digits = 0 if phase == _COMPILED else 2
        cells.append(f"{statistics.median(known):.{digits}f}" if known else "")
    rows.append("| " + " | ".join(cells) + " |")
  return "\n".join(rows)


def _value(times: Mapping[str, Sequence[float]], phase: str, kind: int) -> float | None:
  if phase == _WHOLE:
    return sum(times[name][kind] for name in PHASES if name in times)
  return times[phase][kind] if phase in times else None


def make_parser() -> argparse.ArgumentParser:
  """Returns the parser of the command line."""
  parser = cli.make_parser("benchmarks.first_frame", __doc__)
  add = parser.add_argument
  add("--runs", type=cli.positive_int, default=3, help="processes of each kind")
  add("--checkpoint", type=cli.path, default="dance_e", help="a stage 2")
  add("--child", nargs=4, help=argparse.SUPPRESS)
  return parser


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the program."""
  args = make_parser().parse_args(argv)
  if args.child:
    started, checkpoint, *inputs = args.child
    run_child(float(started), checkpoint, inputs)
    return
  with cli.one_line_errors("first_frame"):
    inputs = example_inputs(files.cache_folder() / "example")
    runs = collections.defaultdict(list)
    for number in range(args.runs):
      print(f"run {number + 1} of {args.runs}", file=sys.stderr)
      with tempfile.TemporaryDirectory() as cache:
        runs["nothing kept"].append(run_process(args.checkpoint, inputs, cache)[0])
        new, again = run_process(args.checkpoint, inputs, cache)
        runs["programs kept"].append(new)
        runs["same process"].append(again)
    print(table(runs))


if __name__ == "__main__":
  main()
