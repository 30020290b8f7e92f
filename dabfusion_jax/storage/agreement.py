"""What the processes of a training agree on about their checkpoints.

Each of these functions must be called by all processes.
"""

import jax
import numpy as np
from etils import epath
from jax.experimental import multihost_utils

from dabfusion_jax.storage.checkpoint_files import complete_steps


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


def largest(number: int) -> int:
  """Returns the largest of the numbers that the processes call this with."""
  if jax.process_count() == 1:
    return number
  return int(multihost_utils.process_allgather(np.int32(number)).max())


def wait_for_all(name: str) -> None:
  """Returns once all processes have reached the point of this name."""
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(name)
