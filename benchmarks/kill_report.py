r"""Kills a training at random moments and checks that nothing is lost but time.

  python benchmarks/kill_report.py --output=DIR
  python benchmarks/kill_report.py --output=DIR --kills=50 \
    --config=configs/diffusion.py:smoke

Each life of the run ends by SIGKILL: three of ten while it starts, the others at a
moment drawn evenly from the seconds after its first new step, saves among them. At the
end its history and every parameter and average are compared with those of a run that
nobody killed: bit by bit. The real program, at smoke size, saves every second step.
"""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import numpy as np
from absl import app, flags

from dabfusion_jax.storage import checkpoint_files, checkpointing
from dabfusion_jax.training.writers import SPEED

_OUTPUT = flags.DEFINE_string("output", None, "Folder for both runs and the report.")
_CONFIG = flags.DEFINE_string(
  "config", "configs/autoencoder.py:smoke", "What to train."
)
_KILLS = flags.DEFINE_integer("kills", 50, "How many.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Of the moments.")
_STARTING = 0.3  # share of the kills that come while the program starts
_STEPS_LONG = 6.0  # seconds of stepping within which the others come

SAVE_EVERY = 2


def start(workdir: pathlib.Path, num_steps: int) -> subprocess.Popen:
  """The training program, in its own process."""
  output = pathlib.Path(_OUTPUT.value)
  environment = {
    **os.environ,
    "JAX_COMPILATION_CACHE_DIR": str(output / "compiled"),
    "JAX_PLATFORMS": "cpu",
  }
  command = [
    *(sys.executable, "-m", "dabfusion_jax.train", f"--config={_CONFIG.value}"),
    *(f"--workdir={workdir}", f"--config.num_steps={num_steps}"),
    *("--config.log_every=1", f"--config.checkpoint_every={SAVE_EVERY}"),
    "--config.picture_every=1000000",
  ]
  log = (output / "log.txt").open("a")
  return subprocess.Popen(command, env=environment, stdout=log, stderr=log)


def history(workdir: pathlib.Path) -> dict[int, dict[str, float]]:
  """Step -> what was reported of it, without speed; a line cut off is left out."""
  path, found = workdir / "metrics.jsonl", {}
  for line in path.read_text().splitlines() if path.exists() else []:
    try:
      values = json.loads(line)
    except ValueError:
      continue
    found[values["step"]] = {k: v for k, v in values.items() if k not in SPEED}
  return found


def wait_for_step(workdir: pathlib.Path, process: subprocess.Popen, step: int) -> None:
  """Returns once `step` is reported, or the process has ended."""
  while process.poll() is None and max(history(workdir), default=0) < step:
    time.sleep(0.1)


def finish(workdir: pathlib.Path, num_steps: int) -> None:
  """Trains to the end; raises where that fails."""
  if start(workdir, num_steps).wait():
    raise RuntimeError(f"The training failed; see {_OUTPUT.value}/log.txt.")


def kill_once(workdir: pathlib.Path, start_up: float, chance: random.Random) -> dict:
  """One life and its end: what was reported, saved and left half done."""
  before = checkpoint_files.latest_step(workdir) or 0
  process = start(workdir, 10**6)
  starting = chance.random() < _STARTING
  if not starting:
    wait_for_step(workdir, process, max(history(workdir), default=0) + 1)
  delay = chance.uniform(0.0, start_up if starting else _STEPS_LONG)
  try:
    process.wait(timeout=delay)
    raise RuntimeError(f"The training ended by itself; see {_OUTPUT.value}/log.txt.")
  except subprocess.TimeoutExpired:
    process.send_signal(signal.SIGKILL)
    process.wait()
  folder = workdir / checkpoint_files.FOLDER
  halves = [p for p in folder.glob("*") if checkpoint_files.UNFINISHED in p.name]
  saved = checkpoint_files.latest_step(workdir) or 0
  reported = max(history(workdir), default=0)
  return {
    "while": "starting" if starting else "stepping",
    "seconds": round(delay, 2),
    "from": before,
    "reported": reported,
    "saved": saved,
    "lost": max(0, reported - saved),
    "during_save": bool(halves),
  }


def compare(killed: pathlib.Path, straight: pathlib.Path) -> list[str]:
  """Differences between the two finished runs; empty if there are none."""
  found = []
  if history(killed) != history(straight):
    found.append("metrics differ")
  for ema in (False, True):
    ours, theirs = (checkpointing.load_params(w, ema=ema) for w in (killed, straight))
    for a, b in zip(leaves(ours), leaves(theirs), strict=True):
      if not np.array_equal(a, b):
        found.append(f"arrays differ (ema={ema})")
        break
  return found


def leaves(tree) -> list:
  """Arrays and numbers of nested dicts and tuples, in order."""
  if isinstance(tree, dict):
    return [x for key in sorted(tree) for x in leaves(tree[key])]
  if isinstance(tree, (tuple, list)):
    return [x for part in tree for x in leaves(part)]
  return [np.asarray(tree)]


def main(argv: list[str]) -> None:
  del argv
  output = pathlib.Path(_OUTPUT.value)
  if output.exists() and any(output.iterdir()):
    sys.exit(f"kill_report: {output} is not empty; choose another folder.")
  output.mkdir(parents=True, exist_ok=True)
  killed, straight = output / "killed", output / "straight"
  # The first life makes the data and fills the compilation cache; the second shows
  # how long starting takes after that.
  for workdir in (output / "first", output / "second"):
    started = time.monotonic()
    process = start(workdir, 10**6)
    wait_for_step(workdir, process, 1)
    start_up = time.monotonic() - started
    process.kill()
    process.wait()
  chance = random.Random(_SEED.value)
  lives = []
  for number in range(_KILLS.value):
    lives.append(kill_once(killed, start_up, chance))
    print(f"kill {number + 1}: {lives[-1]}", flush=True)
  last = max(history(killed), default=0) + SAVE_EVERY
  finish(killed, last)
  finish(straight, last)
  differences = compare(killed, straight)
  report = {
    "config": _CONFIG.value,
    "kills": len(lives),
    "steps": last,
    "before_a_step": sum(x["reported"] <= x["from"] for x in lives),
    "during_save": sum(x["during_save"] for x in lives),
    "most_steps_lost": max(x["lost"] for x in lives),
    "save_every": SAVE_EVERY,
    "differences": differences,
    "lives": lives,
  }
  (output / "report.json").write_text(json.dumps(report, indent=2) + "\n")
  print({k: v for k, v in report.items() if k != "lives"})
  sys.exit(1 if differences else 0)


if __name__ == "__main__":
  flags.mark_flags_as_required(["output"])
  app.run(main)
