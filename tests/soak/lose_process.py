r"""Two processes train, one is killed, one resumes alone: is anything lost but time?

  python tests/soak/lose_process.py --output=DIR

The data of the config must be there (`make miniature VARIANT=smoke` makes them). The
real program with real `jax.distributed` on this machine, started as by Slurm, one
device each. Process 1 ends by SIGKILL once some steps are reported, and the report says
how the other one ends. Then a single process resumes with the same command without
--distributed, on two devices. The result is compared with a run of one process from
start to end: losses of all steps, parameters and averages.
"""

import argparse
import json
import pathlib
import socket
import subprocess
import time

import jobs
import numpy as np

from dabfusion_jax.storage import checkpoint_files
from data_pipeline import cli, files

SAVE_EVERY = 5


def start_two(start, workdir: pathlib.Path) -> list[subprocess.Popen]:
  """Starts both processes of a run as Slurm's srun does."""
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{free.getsockname()[1]}"
  return [
    start(
      workdir,
      f"process_{index}.txt",
      "--distributed",
      JAX_NUM_CPU_DEVICES="1",
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


def compare(ours: pathlib.Path, theirs: pathlib.Path) -> dict[str, float]:
  """Returns relative differences: the largest of a loss, and of all arrays together.

  Array by array it would be larger: a bias before a BatchNorm has no gradient but
  rounding noise, which Adam scales up.
  """
  losses = [{s: v["loss"] for s, v in jobs.history(w).items()} for w in (ours, theirs)]
  if losses[0].keys() != losses[1].keys():
    raise RuntimeError(f"Other steps: {sorted(losses[0])} and {sorted(losses[1])}.")
  a, b = losses
  differences = {"loss": max(abs(a[step] - b[step]) / abs(b[step]) for step in b)}
  for name, ema in (("parameters", False), ("averages", True)):
    pairs = zip(*(jobs.load_arrays(w, ema) for w in (ours, theirs)), strict=True)
    norms = [(np.sum((x - y) ** 2.0), np.sum(y**2.0)) for x, y in pairs]
    differences[name] = float(np.sqrt(np.divide(*np.sum(norms, axis=0))))
  return differences


def run(args: argparse.Namespace) -> dict:
  """Kills one process, resumes with the other, and returns the report."""
  output = jobs.open_output(args.output)
  straight, lost = output / "straight", output / "lost"

  def start(workdir, log, *arguments, **environment):
    options = {"num_steps": args.steps, "save_every": SAVE_EVERY}
    log = output / log
    return jobs.start(args.config, workdir, log, *arguments, **options, **environment)

  def finish(workdir, log):
    jobs.finish(start(workdir, log, JAX_NUM_CPU_DEVICES="2"), output / log)

  finish(straight, "straight.txt")
  processes = start_two(start, lost)
  jobs.wait_for_step(lost, processes[0], args.kill_after)
  processes[1].kill()
  killed = time.monotonic()
  status = processes[0].wait()
  report = {
    "config": args.config,
    "steps": args.steps,
    "reported_by_two": max(jobs.history(lost), default=0),
    "saved_by_two": checkpoint_files.latest_step(lost),
    "status_of_the_other": status,
    "seconds_until_it_ended": round(time.monotonic() - killed, 1),
  }
  processes[1].wait()
  finish(lost, "alone.txt")
  return report | {"relative_difference": compare(lost, straight)}


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  add = parser.add_argument
  add("--output", required=True, type=pathlib.Path, help="folder of runs and report")
  add("--config", default="configs/autoencoder.py:smoke", help="what to train")
  add("--kill_after", type=cli.positive_int, default=7, help="steps of two processes")
  add("--steps", type=cli.positive_int, default=16, help="of the whole run")
  args = parser.parse_args()
  with cli.one_line_errors("lose_process"):
    report = run(args)
    files.write_json(args.output / "report.json", report)
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
  main()
