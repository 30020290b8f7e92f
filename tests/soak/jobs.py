"""Real trainings in processes of their own, and how to compare what they leave."""

import json
import os
import pathlib
import subprocess
import sys
import time

import numpy as np

from dabfusion_jax.storage import checkpointing
from dabfusion_jax.training.progress import SPEED
from data_pipeline.errors import UserError


def open_output(output: pathlib.Path) -> pathlib.Path:
  """Creates the folder of a report.

  Raises:
    UserError: it holds something already.
  """
  if output.exists() and any(output.iterdir()):
    raise UserError(f"{output} is not empty; choose another folder.")
  output.mkdir(parents=True, exist_ok=True)
  return output


def start(
  config: str,
  workdir: pathlib.Path,
  log: pathlib.Path,
  *arguments: str,
  num_steps: int,
  save_every: int,
  **environment: str,
) -> subprocess.Popen:
  """Starts the training program on CPU, reporting every step."""
  command = [
    *(sys.executable, "-m", "dabfusion_jax.train", f"--config={config}"),
    *(f"--workdir={workdir}", f"--config.num_steps={num_steps}"),
    *("--config.log_every=1", f"--config.checkpoint_every={save_every}"),
    *("--config.picture_every=1000000", "--config.eval_every=0", *arguments),
  ]
  with log.open("a") as file:
    return subprocess.Popen(
      command,
      env={**os.environ, "JAX_PLATFORMS": "cpu", **environment},
      stdout=file,
      stderr=file,
    )


def finish(process: subprocess.Popen, log: pathlib.Path) -> None:
  """Waits for a training to end.

  Raises:
    RuntimeError: it failed.
  """
  if process.wait():
    raise RuntimeError(f"The training failed; see {log}.")


def history(workdir: pathlib.Path) -> dict[int, dict[str, float]]:
  """Returns the metrics of each step, without speed or an incomplete last line."""
  path, steps = workdir / "metrics.jsonl", {}
  for line in path.read_text().splitlines() if path.exists() else []:
    try:
      values = json.loads(line)
    except ValueError:
      continue
    steps[values["step"]] = {k: v for k, v in values.items() if k not in SPEED}
  return steps


def wait_for_step(workdir: pathlib.Path, process: subprocess.Popen, step: int) -> None:
  """Returns once `step` is reported, or the process has ended."""
  while process.poll() is None and max(history(workdir), default=0) < step:
    time.sleep(0.1)


def load_arrays(workdir: pathlib.Path, ema: bool) -> list[np.ndarray]:
  """Returns all arrays and numbers of the newest checkpoint, in a fixed order."""
  return _leaves(checkpointing.load_params(workdir, ema=ema))


def _leaves(tree) -> list[np.ndarray]:
  if isinstance(tree, dict):
    return [x for key in sorted(tree) for x in _leaves(tree[key])]
  if isinstance(tree, tuple | list):
    return [x for part in tree for x in _leaves(part)]
  return [np.asarray(tree)]
