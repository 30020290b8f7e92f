r"""Two processes train, one is killed, one goes on alone: is anything lost but time?

  python -m benchmarks.lost_process --output=DIR

The real program with real `jax.distributed` on this machine, started as Slurm starts
it, one device each. Process 1 ends by SIGKILL once some steps are reported, and the
report says how the other one ends. Then a single process resumes with the same command
without --distributed, on two devices. A run of one process from start to end is what it
is compared with: losses of all steps, parameters and averages.
"""

import json
import os
import pathlib
import socket
import subprocess
import sys
import time

import numpy as np
from absl import app, flags

from benchmarks.kill_report import history, leaves, wait_for_step
from dabfusion_jax.storage import checkpoint_files, checkpointing

_KILL_AFTER = flags.DEFINE_integer("kill_after", 7, "Steps of two processes.")
_STEPS = flags.DEFINE_integer("steps", 16, "Of the whole run.")
SAVE_EVERY = 5


def start(workdir: pathlib.Path, log: str, *more: str, **environment: str):
  """The training program on one CPU device, in its own process."""
  output = pathlib.Path(flags.FLAGS.output)
  command = [
    *(sys.executable, "-m", "dabfusion_jax.train", f"--config={flags.FLAGS.config}"),
    *(f"--workdir={workdir}", f"--config.num_steps={_STEPS.value}"),
    *("--config.log_every=1", f"--config.checkpoint_every={SAVE_EVERY}"),
    *("--config.picture_every=1000000", *more),
  ]
  with (output / log).open("a") as file:
    return subprocess.Popen(
      command,
      env={
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": "1",
        **environment,
      },
      stdout=file,
      stderr=file,
    )


def start_two(workdir: pathlib.Path) -> list[subprocess.Popen]:
  """Both processes of a run, as Slurm's srun starts them."""
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{free.getsockname()[1]}"
  return [
    start(
      workdir,
      f"process_{index}.txt",
      "--distributed",
      SLURM_JOB_ID="1",
      SLURM_STEP_NODELIST="localhost",
      SLURM_NTASKS="2",
      SLURM_STEP_NUM_NODES="1",
      SLURM_PROCID=str(index),
      SLURM_LOCALID=str(index),
      JAX_COORDINATOR_ADDRESS=address,
    )
    for index in range(2)
  ]


def finish(workdir: pathlib.Path, log: str) -> None:
  """Trains to the end with one process; raises where that fails."""
  if start(workdir, log, JAX_NUM_CPU_DEVICES="2").wait():
    raise RuntimeError(f"The training failed; see {log} in {flags.FLAGS.output}.")


def compare(ours: pathlib.Path, theirs: pathlib.Path) -> dict[str, float]:
  """Relative differences: the largest of a loss, and of all arrays taken together.

  Array by array it would be larger: a bias before a BatchNorm has no gradient but
  rounding noise, which Adam scales up.
  """
  loss = lambda workdir: {s: v["loss"] for s, v in history(workdir).items()}
  a, b = loss(ours), loss(theirs)
  if a.keys() != b.keys():
    raise RuntimeError(f"Other steps: {sorted(a)} and {sorted(b)}.")
  found = {"loss": max(abs(a[step] - b[step]) / abs(b[step]) for step in b)}
  for name, ema in (("parameters", False), ("averages", True)):
    pairs = zip(
      *(leaves(checkpointing.load_params(w, ema=ema)) for w in (ours, theirs)),
      strict=True,
    )
    norms = [(np.sum((x - y) ** 2.0), np.sum(y**2.0)) for x, y in pairs]
    found[name] = float(np.sqrt(np.divide(*np.sum(norms, axis=0))))
  return found


def main(argv: list[str]) -> None:
  del argv
  output = pathlib.Path(flags.FLAGS.output)
  if output.exists() and any(output.iterdir()):
    sys.exit(f"lost_process: {output} is not empty; choose another folder.")
  output.mkdir(parents=True, exist_ok=True)
  straight, lost = output / "straight", output / "lost"
  finish(straight, "straight.txt")  # first, since it makes the data
  processes = start_two(lost)
  wait_for_step(lost, processes[0], _KILL_AFTER.value)
  processes[1].kill()
  killed = time.monotonic()
  status = processes[0].wait()
  report = {
    "config": flags.FLAGS.config,
    "steps": _STEPS.value,
    "reported_by_two": max(history(lost), default=0),
    "saved_by_two": checkpoint_files.latest_step(lost),
    "status_of_the_other": status,
    "seconds_until_it_ended": round(time.monotonic() - killed, 1),
  }
  processes[1].wait()
  finish(lost, "alone.txt")
  report["relative_difference"] = compare(lost, straight)
  (output / "report.json").write_text(json.dumps(report, indent=2) + "\n")
  print(json.dumps(report, indent=2))


if __name__ == "__main__":
  flags.mark_flags_as_required(["output"])
  app.run(main)
