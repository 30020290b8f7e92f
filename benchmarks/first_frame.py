r"""Where the time goes from the start of a process to a finished dance.

  python -m benchmarks.first_frame [--runs=3 --checkpoint=dance_e]
  python -m benchmarks.first_frame --runs=1 --seconds=4,60 --memory_of=240

A dance by the bundled weights, of a generated dancer to a generated song, in new
processes: with nothing kept, with the compiled programs that the first one has kept,
with those and what was heard of the song, and once more in the same process, with
another seed. Prints the seconds of each phase, wall and CPU of all threads, and the
most memory that the process has held, as medians, in a table for each length; with
--memory_of, the time and memory of one longer dance. Compiling happens beside the
listening to the music, in other threads. In a dance of several windows, a window is
drawn while the one before is written; time then belongs to the phase that ends first.
Other programs on the machine change wall times most.
"""

import argparse
import collections
import dataclasses
import json
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence

from data_pipeline import cli, files
from data_pipeline.synthdance import music
from data_pipeline.synthdance.example import NAMES, example_inputs
from data_pipeline.synthdance.generate import write_wav

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
_PEAK = "peak memory [GiB]"
_CASES = ("nothing kept", "programs kept", "and the song", "same process")
_LEAST_SONG = 24.0  # seconds, of which a shorter dance is a part


@dataclasses.dataclass
class Clock:
  """Tells phases apart: seconds of wall and CPU since the phase before."""

  wall: float  # of `time.monotonic`, which all processes share
  cpu: float = 0.0
  phases: dict[str, tuple[float, float]] = dataclasses.field(default_factory=dict)

  def end(self, phase: str) -> None:
    """Ends a phase; one that has ended before goes on from there."""
    times = os.times()
    wall, cpu = time.monotonic(), times.user + times.system
    before = self.phases.get(phase, (0.0, 0.0))
    self.phases[phase] = (before[0] + wall - self.wall, before[1] + cpu - self.cpu)
    self.wall, self.cpu = wall, cpu


def dance(
  clock: Clock, pipeline, inputs, output: pathlib.Path, **asked: object
) -> None:
  """Makes a dance and tells its phases to the clock."""

  def show(done: int, total: int) -> None:
    clock.end("first step" if done == 1 else "other steps")

  def written(parts: Iterator) -> Iterator:
    for part in parts:
      yield part
      clock.end("drawing and writing")  # the next one is asked for

  made = pipeline.stream(*inputs, drawing="decoder", callback=show, **asked)
  clock.end("picture and music")
  dataclasses.replace(made, parts=written(made.parts)).save(output)
  clock.end("drawing and writing")


def run_child(
  started: float, checkpoint: str, seconds: float, num_dances: int, *inputs: str
) -> None:
  """Makes dances in this process; prints a JSON list of the phases of each."""
  clock = Clock(started)
  import jax

  from dabfusion_jax.parallel.compiled import keep_compiled
  from dabfusion_jax.pipeline import DancePipeline
  from data_pipeline.music.kept import users_folder

  clock.end("start and imports")
  compiling: list[float] = []

  def listen(event: str, duration: float, **unused: object) -> None:
    if event == _COMPILE:
      compiling.append(duration)

  jax.monitoring.register_event_duration_secs_listener(listen)
  keep_compiled()
  pipeline = DancePipeline.from_pretrained(checkpoint, music_folder=users_folder())
  clock.end("reading weights")
  dances = []
  with tempfile.TemporaryDirectory() as folder:
    output = pathlib.Path(folder) / "dance.mp4"
    for seed in range(num_dances):
      dance(clock, pipeline, inputs, output, seed=seed, duration=seconds)
      peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
      about = {_COMPILING: sum(compiling), _COMPILED: len(compiling), _PEAK: peak}
      dances.append(clock.phases | {name: (about[name], None) for name in about})
      clock.phases = {}
      compiling.clear()
  print(json.dumps(dances))


def run_process(
  checkpoint: str, seconds: float, num_dances: int, folder: pathlib.Path
) -> list[dict[str, list[float]]]:
  """Returns the phases of dances in a new process.

  Args:
    checkpoint: a stage 2.
    seconds: of each dance.
    num_dances: one after the other.
    folder: of what is kept.
  """
  picture, _ = example_inputs(files.cache_folder() / "example")
  song = folder / "song.wav"
  write_wav(
    song, music.render_music(NAMES["figures"].music, 0.0, max(seconds, _LEAST_SONG))
  )
  environment = os.environ | {files.VARIABLE: str(folder)}
  environment.pop("JAX_COMPILATION_CACHE_DIR", None)
  command = [sys.executable, "-m", "benchmarks.first_frame", "--child"]
  numbers = (time.monotonic(), checkpoint, seconds, num_dances)
  command += map(str, (*numbers, picture, song))
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
  for phase in (*PHASES, _WHOLE, _COMPILING, _COMPILED, _PEAK):
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
  add("--seconds", type=lengths, default="4", help="of the dances, as in 4,60")
  add("--memory_of", type=lengths, default=(), help="lengths of which one is made")
  add("--child", nargs=6, help=argparse.SUPPRESS)
  return parser


def lengths(text: str) -> tuple[float, ...]:
  """Parses seconds separated by commas, as a `type` of argparse."""
  return tuple(map(cli.positive_float, text.split(",")))


def measure(
  checkpoint: str, seconds: float, runs: int
) -> dict[str, list[Mapping[str, Sequence[float]]]]:
  """Returns the phases of `runs` dances of each of `_CASES`."""
  measured = collections.defaultdict(list)
  for number in range(runs):
    print(f"{seconds:g} s: run {number + 1} of {runs}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as name:
      folder = pathlib.Path(name)
      (cold,) = run_process(checkpoint, seconds, 1, folder)
      shutil.rmtree(folder / "music")
      (new_song,) = run_process(checkpoint, seconds, 1, folder)
      same_song, again = run_process(checkpoint, seconds, 2, folder)
    dances = cold, new_song, same_song, again
    for case, phases in zip(_CASES, dances, strict=True):
      measured[case].append(phases)
  return measured


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the program."""
  args = make_parser().parse_args(argv)
  if args.child:
    started, checkpoint, seconds, num_dances, *inputs = args.child
    run_child(float(started), checkpoint, float(seconds), int(num_dances), *inputs)
    return
  with cli.one_line_errors("first_frame"):
    for seconds in args.seconds:
      print(f"{seconds:g} s of dance:")
      print(table(measure(args.checkpoint, seconds, args.runs)), flush=True)
    for seconds in args.memory_of:
      with tempfile.TemporaryDirectory() as name:
        (one,) = run_process(args.checkpoint, seconds, 1, pathlib.Path(name))
      print(
        f"{seconds:g} s of dance, nothing kept: {_value(one, _WHOLE, 0):.0f} s,"
        f" {one[_PEAK][0]:.2f} GiB",
        flush=True,
      )


if __name__ == "__main__":
  main()
