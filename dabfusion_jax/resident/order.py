"""Places data on the devices once, and says in which order batches take it."""

from collections.abc import Callable, Sized
from typing import Any

import jax
import numpy as np
from absl import logging
from jaxtyping import Int32

from data_pipeline.errors import UserError

DRAWS, _ORDER = 1, 2  # what the streams of random numbers are for
OTHERWISE = "begin a run with --config.data.on_device=False."


def check_clips(clips: Sized, batch_size: int, mesh: jax.sharding.Mesh) -> None:
  """Checks that clips can be placed and batched, before gigabytes are read.

  Raises:
    UserError: there are no clips, several processes, or a batch that the devices
      cannot share.
  """
  if jax.process_count() > 1:
    raise UserError(f"data.on_device is for one process; {OTHERWISE}")
  if batch_size % mesh.size:
    raise UserError(
      f"batch_size {batch_size} does not divide over {mesh.size} devices; choose a"
      f" multiple of {mesh.size}."
    )
  if not len(clips):
    raise UserError("There are no clips to make batches of.")


def place_once(
  arrays: dict[str, np.ndarray], mesh: jax.sharding.Mesh
) -> dict[str, jax.Array]:
  """Returns arrays of all clips, on every device of a mesh of one process.

  Raises:
    UserError: they take more than the memory of the device.
  """
  size = sum(array.nbytes for array in arrays.values()) / 2**30
  num_clips = len(next(iter(arrays.values())))
  try:
    placed = jax.device_put(arrays, jax.NamedSharding(mesh, jax.P()))
    placed = jax.block_until_ready(placed)
  except jax.errors.JaxRuntimeError as error:
    if "RESOURCE_EXHAUSTED" not in str(error):
      raise
    raise UserError(
      f"data.on_device: the {num_clips} clips take {size:.1f} GiB, more than the"
      f" device has; {OTHERWISE}"
    ) from None
  logging.info("%d clips on the device, %.1f GiB.", num_clips, size)
  return placed


def shuffled(
  seed: int, index: int, batch_size: int, num_clips: int
) -> Int32[np.ndarray, "b"]:
  """Returns the clips of a batch: each is in an epoch once, in an order of its own."""
  place = index * batch_size + np.arange(batch_size)
  clips = np.empty(batch_size, np.int32)
  for epoch in np.unique(place // num_clips):
    order = np.random.default_rng((seed, _ORDER, epoch)).permutation(num_clips)
    mine = place // num_clips == epoch
    clips[mine] = order[place[mine] % num_clips]
  return clips


class Batches:
  """An iterator over batches that are made by their number."""

  def __init__(self, make: Callable[[int], dict[str, Any]]) -> None:
    self._make, self._next = make, 0

  def __iter__(self) -> "Batches":
    return self

  def __next__(self) -> dict[str, Any]:
    self._next += 1
    return self._make(self._next - 1)

  def get_state(self) -> dict[str, int]:
    """Returns the position."""
    return {"next_index": self._next}

  def set_state(self, state: dict[str, int]) -> None:
    """Goes to a position."""
    self._next = int(state["next_index"])
