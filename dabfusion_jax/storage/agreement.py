"""What the processes of a training agree on about their checkpoints.

Each of these functions must be called by all processes.
"""

import secrets
import socket
import time

import jax
import numpy as np
from etils import epath
from jax.experimental import multihost_utils

from dabfusion_jax.storage.checkpoint_files import complete_steps
from data_pipeline import files
from data_pipeline.errors import UserError


def newest_step(folder: epath.PathLike, before: int | None) -> int | None:
  """Returns the newest step (below `before`) as process 0 sees it."""
  steps = [s for s in complete_steps(folder) if before is None or s < before]
  newest = max(steps, default=-1)
  if jax.process_count() > 1:
    newest = int(multihost_utils.broadcast_one_to_all(np.int32(newest)))
  return None if newest < 0 else newest


def failing_processes(failed: bool) -> list[int]:
  """Returns the processes that call this with `failed`."""
  if jax.process_count() == 1:
    return [0] if failed else []
  return np.flatnonzero(multihost_utils.process_allgather(np.array(failed))).tolist()


def check_shared(folder: epath.PathLike) -> None:
  """Checks that all processes see the folder of process 0; else a save would hang.

  Raises:
    UserError: naming those that do not.
  """
  if jax.process_count() == 1:
    return
  number = multihost_utils.broadcast_one_to_all(np.int32(secrets.randbits(31)))
  path = epath.Path(folder) / f".seen_by_all_{number}"
  if jax.process_index() == 0:
    files.write_text(path, "")
  wait_for_all("a file for all")
  for _ in range(10):  # over a network, a file may show late
    if is_seen := path.exists():
      break
    time.sleep(1)
  blind = failing_processes(not is_seen)
  if jax.process_index() == 0:
    path.unlink()
  if blind:
    name = np.frombuffer(socket.gethostname().encode().ljust(64)[:64], np.uint8)
    hosts = multihost_utils.process_allgather(name)
    where = [f"{i} on {hosts[i].tobytes().decode().strip()}" for i in blind]
    raise UserError(
      f"What process 0 writes to {folder} does not reach process {', '.join(where)}."
      " Name a workdir on storage that all machines see."
    )


def largest(number: int) -> int:
  """Returns the largest of the numbers that the processes call this with."""
  if jax.process_count() == 1:
    return number
  return int(multihost_utils.process_allgather(np.int32(number)).max())


def wait_for_all(name: str) -> None:
  """Returns once all processes have reached the point of this name."""
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(name)
