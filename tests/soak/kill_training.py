r"""Kills a training at random moments and checks that nothing is lost but time.

  python tests/soak/kill_training.py --output=DIR
  python tests/soak/kill_training.py --output=DIR --kills=50 \
    --config=configs/diffusion.py:smoke

The data of the config must be there (`make miniature VARIANT=smoke` makes them). Each
process of the run ends by SIGKILL: three of ten while it starts, the others at a moment
drawn uniformly from the seconds after its first new step, saves among them. At the end,
the run's history and every parameter and average are compared bit by bit with those of
a run that was never killed. The real program, at smoke size, saves every second step.
"""

import argparse
import pathlib
import random
import signal
import subprocess
import sys
import time

import jobs
import numpy as np

from dabfusion_jax.storage import checkpoint_files
from data_pipeline import cli, files

_STARTING = 0.3  # share of the kills that come while the program starts
_STEPPING_SECONDS = 6.0  # within which the others come
SAVE_EVERY = 2
FOR_EVER = 10**6  # steps


def kill_once(
  start, workdir: pathlib.Path, start_up: float, rng: random.Random
) -> dict:
  """Starts the training, kills it, and returns what was reported, saved and lost."""
  before = checkpoint_files.latest_step(workdir) or 0
  process = start(workdir, FOR_EVER)
  starting = rng.random() < _STARTING
  if not starting:
    jobs.wait_for_step(workdir, process, max(jobs.history(workdir), default=0) + 1)
  delay = rng.uniform(0.0, start_up if starting else _STEPPING_SECONDS)
  try:
    process.wait(timeout=delay)
    raise RuntimeError("The training ended by itself; see log.txt.")
  except subprocess.TimeoutExpired:
    process.send_signal(signal.SIGKILL)
    process.wait()
  folder = workdir / checkpoint_files.FOLDER
  unfinished = [p for p in folder.glob("*") if checkpoint_files.UNFINISHED in p.name]
  saved = checkpoint_files.latest_step(workdir) or 0
  reported = max(jobs.history(workdir), default=0)
  return {
    "while": "starting" if starting else "stepping",
    "seconds": round(delay, 2),
    "from": before,
    "reported": reported,
    "saved": saved,
    "lost": max(0, reported - saved),
    "during_save": bool(unfinished),
  }


def compare(killed: pathlib.Path, straight: pathlib.Path) -> list[str]:
  """Returns the differences between two finished runs; empty if there are none."""
  differences = []
  if jobs.history(killed) != jobs.history(straight):
    differences.append("metrics differ")
  for ema in (False, True):
    arrays = (jobs.load_arrays(workdir, ema) for workdir in (killed, straight))
    if not all(np.array_equal(a, b) for a, b in zip(*arrays, strict=True)):
      differences.append(f"arrays differ (ema={ema})")
  return differences


def run(args: argparse.Namespace) -> dict:
  """Kills and compares, and returns the report."""
  output = jobs.open_output(args.output)
  log = output / "log.txt"
  killed, straight = output / "killed", output / "straight"

  def start(workdir, num_steps):
    return jobs.start(
      args.config,
      workdir,
      log,
      num_steps=num_steps,
      save_every=SAVE_EVERY,
      JAX_COMPILATION_CACHE_DIR=str(output / "compiled"),
    )

  # The first process fills the compilation cache; the second shows how long starting
  # takes after that.
  for workdir in (output / "first", output / "second"):
    started = time.monotonic()
    process = start(workdir, FOR_EVER)
    jobs.wait_for_step(workdir, process, 1)
    if process.poll() is not None:
      raise RuntimeError(f"The training did not start; see {log}.")
    start_up = time.monotonic() - started
    process.kill()
    process.wait()
  rng, lives = random.Random(args.seed), []
  for number in range(args.kills):
    lives.append(kill_once(start, killed, start_up, rng))
    print(f"kill {number + 1}: {lives[-1]}", flush=True)
  last = max(jobs.history(killed), default=0) + SAVE_EVERY
  for workdir in (killed, straight):
    jobs.finish(start(workdir, last), log)
  return {
    "config": args.config,
    "kills": len(lives),
    "steps": last,
    "before_a_step": sum(x["reported"] <= x["from"] for x in lives),
    "during_save": sum(x["during_save"] for x in lives),
    "most_steps_lost": max(x["lost"] for x in lives),
    "save_every": SAVE_EVERY,
    "differences": compare(killed, straight),
    "lives": lives,
  }


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  add = parser.add_argument
  add("--output", required=True, type=pathlib.Path, help="folder of runs and report")
  add("--config", default="configs/autoencoder.py:smoke", help="what to train")
  add("--kills", type=cli.positive_int, default=50, help="how many")
  add("--seed", type=int, default=0, help="of the moments")
  args = parser.parse_args()
  with cli.one_line_errors("kill_training"):
    report = run(args)
    files.write_json(args.output / "report.json", report)
    print({k: v for k, v in report.items() if k != "lives"})
  sys.exit(1 if report["differences"] else 0)


if __name__ == "__main__":
  main()
