r"""Kills builds and latent caches at random moments; the same command must mend them.

  python tests/soak/kill_builds.py --output=DIR
  python tests/soak/kill_builds.py --output=DIR --kills=10 --stages=latents

A build of the smoke preset and a cache of its latents, by the bundled stage 1, are
first made undisturbed. Then the same programs are ended by SIGKILL, three of ten while
they start, the others at a moment drawn uniformly from the time of their work. If one
gets through, its files are compared byte by byte with those of the undisturbed one, and
the next begins in an empty folder. Locks and folders of unfinished work are not
compared, and the records of a data set are as messages: protobuf writes the fields of
an example in another order in every process.
"""

import argparse
import dataclasses
import hashlib
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import grain
import jobs
from tensorflow_datasets.proto import tf_example_pb2

from dabfusion_jax.storage import saved_stage
from data_pipeline import cli, files
from data_pipeline.locks import LOCK

_STARTING = 0.3  # share of the kills that come while the program starts
_STAGES = ("build", "latents")


@dataclasses.dataclass(frozen=True)
class Program:
  """A program that makes a folder.

  Attributes:
    command: without the folder.
    environment: beside that of this process.
    log: what it says goes there.
  """

  command: tuple[str, ...]
  environment: dict[str, str]
  log: pathlib.Path

  def start(self, folder: pathlib.Path) -> subprocess.Popen:
    """Starts it."""
    with self.log.open("a") as file:
      return subprocess.Popen(
        [sys.executable, "-m", *self.command, f"--output={folder}"],
        env={**os.environ, **self.environment},
        stdout=file,
        stderr=file,
      )


def has_begun(folder: pathlib.Path) -> bool:
  """Returns whether a program has written anything but its lock."""
  return any(not path.name.startswith(LOCK) for path in folder.glob("*"))


def time_of(program: Program, folder: pathlib.Path) -> tuple[float, float]:
  """Runs a program undisturbed; returns the seconds of its start and of its work."""
  started = time.monotonic()
  process = program.start(folder)
  while process.poll() is None and not has_begun(folder):
    time.sleep(0.05)
  begun = time.monotonic()
  jobs.finish(process, program.log)
  return begun - started, time.monotonic() - begun


def digests(folder: pathlib.Path) -> dict[str, str]:
  """Returns the SHA-256 of every file of a finished folder, hidden ones among them."""
  return {
    path.relative_to(folder).as_posix(): hashlib.sha256(content_of(path)).hexdigest()
    for path in sorted(folder.rglob("*"))
    if path.is_file() and not path.name.startswith(LOCK)
    if "work" not in path.relative_to(folder).parts
  }


def content_of(path: pathlib.Path) -> bytes:
  """Returns the bytes of a file; of a shard of examples, those with sorted fields."""
  if "shards" not in path.parts or "array_record" not in path.name:
    return path.read_bytes()
  source = grain.sources.ArrayRecordDataSource([str(path)])
  examples = map(tf_example_pb2.Example.FromString, source)
  return b"".join(each.SerializeToString(deterministic=True) for each in examples)


def run_until_killed(
  program: Program, folder: pathlib.Path, seconds: float, is_starting: bool
) -> bool:
  """Runs a program for some seconds of its start or work; returns whether it ended.

  Raises:
    RuntimeError: it failed.
  """
  process = program.start(folder)
  while not is_starting and process.poll() is None and not has_begun(folder):
    time.sleep(0.05)
  try:
    process.wait(timeout=seconds)
  except subprocess.TimeoutExpired:
    process.send_signal(signal.SIGKILL)
    process.wait()
    return False
  jobs.finish(process, program.log)
  return True


def kill_often(
  program: Program, place: pathlib.Path, kills: int, rng: random.Random
) -> dict[str, object]:
  """Kills a program in one folder after another, and returns what differed."""
  whole = place / "undisturbed"
  start_up, work = time_of(program, whole)
  expected, report = digests(whole), {"kills": 0, "finished": 0, "differences": []}
  folder = place / "killed"

  def compare() -> None:
    found = digests(folder)
    names = expected.keys() | found.keys()
    different = sorted(n for n in names if expected.get(n) != found.get(n))
    report["finished"] += 1
    report["differences"] += different
    if not different:
      shutil.rmtree(folder)

  while report["kills"] < kills and not report["differences"]:
    is_starting = rng.random() < _STARTING
    seconds = rng.uniform(0.0, start_up if is_starting else work)
    if run_until_killed(program, folder, seconds, is_starting):
      compare()
    else:
      report["kills"] += 1
      while_ = "starting" if is_starting else "working"
      print(f"kill {report['kills']}: {while_}, {seconds:.1f} s", flush=True)
  if folder.exists() and not report["differences"]:
    jobs.finish(program.start(folder), program.log)
    compare()
  return report


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  add = parser.add_argument
  add("--output", required=True, type=pathlib.Path, help="folder of data and report")
  add("--kills", type=cli.positive_int, default=10, help="how many of each")
  add("--seed", type=int, default=0, help="of the moments")
  add("--stages", type=cli.comma_separated(_STAGES), default=_STAGES, help="which")
  args = parser.parse_args()
  with cli.one_line_errors("kill_builds"):
    output = jobs.open_output(args.output).absolute()
    environment = {
      "JAX_PLATFORMS": "cpu",
      "JAX_COMPILATION_CACHE_DIR": str(output / "compiled"),
    }
    build = ("data_pipeline.build", "--source=synthdance", "--preset=smoke")
    data = output / "build" / "undisturbed"
    stage1 = saved_stage.shipped().parent / saved_stage.AUTOENCODER
    latents = ("dabfusion_jax.latents", f"--checkpoint={stage1}", f"--data={data}")
    rng, reports = random.Random(args.seed), {}
    for name, command in (("build", build), ("latents", latents)):
      place = output / name
      place.mkdir()
      program = Program(command, environment, output / f"{name}.log")
      if name in args.stages:
        reports[name] = kill_often(program, place, args.kills, rng)
        print(name, reports[name], flush=True)
      elif name == "build":  # the latents need it
        time_of(program, data)
    files.write_json(output / "report.json", reports)
  sys.exit(any(report["differences"] for report in reports.values()))


if __name__ == "__main__":
  main()
