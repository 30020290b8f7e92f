"""Stubs of networks and worker processes, where only their inputs matter."""

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np

from dabfusion_jax.pipeline import DancePipeline
from dabfusion_jax.storage import saved_stage


class Inline:
  """Stands for `LocalPool`: works in this process."""

  def __init__(self, num_workers: int) -> None:
    del num_workers

  def __enter__(self) -> "Inline":
    return self

  def __exit__(self, *unused: Any) -> None:
    pass

  def run(self, function, arguments, unit, on_crash):
    """Calls the function on each of the arguments."""
    return [function(*each) for each in arguments]


class StillSampler:
  """Stands for `BatchSampler`: every dance stands still."""

  def __init__(self, frame_size: int) -> None:
    self._size, self.devices = frame_size, (None,)

  def encode(self, pictures):
    return np.zeros((len(pictures), 4, 4, 8), np.float32)

  def draw(self, batch, *unused):
    shape = (*batch["beats"].shape, 4, 4)
    return np.zeros((*shape, 2), np.float32), np.zeros((*shape, 1), np.float32)

  def decode(self, z, flow, occlusion):
    return np.zeros((*flow.shape[:2], self._size, self._size, 3), np.uint8)

  read_joints = None

  def compiling(self, *unused):
    return contextlib.nullcontext()

  def rebuild(self, z):
    return np.zeros((len(z), self._size, self._size, 3), np.uint8)


@contextlib.contextmanager
def still_pipeline() -> Iterator[None]:
  """Replaces the networks of `sample`, and reads their weights once."""
  pipeline = DancePipeline.from_pretrained(saved_stage.shipped())
  with still_networks():
    with mock.patch.object(DancePipeline, "from_pretrained", lambda *unused: pipeline):
      yield


def still_networks() -> Any:
  """Replaces the networks of `sample`, which reads their weights all the same."""
  return mock.patch.object(DancePipeline, "batch_sampler", StillSampler(64))
