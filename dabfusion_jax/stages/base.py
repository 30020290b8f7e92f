"""What the training loop requires of a stage, and nothing more."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import PyTree

Batch = Mapping[str, jax.Array | np.ndarray]  # the first axis is the example


@runtime_checkable
class Stage(Protocol):
  """A trainable stage: its parameters, its loss, and pictures to judge it by.

  In the loop `batch` is the global batch: means and BatchNorm statistics are over all
  devices.
  """

  @property
  def frozen(self) -> PyTree:
    """Weights that `loss` uses and that are never trained; {} if there are none.

    They are an argument of `loss`: a constant would be kept in every program.
    """
    ...

  def init(self, key: jax.Array, batch: Batch) -> tuple[PyTree, PyTree]:
    """Returns initial (params, batch_stats). It is traced with a batch of zeros."""
    ...

  def loss(
    self,
    params: PyTree,
    batch_stats: PyTree,
    frozen: PyTree,
    batch: Batch,
    key: jax.Array,
    train: bool = True,
  ) -> tuple[jax.Array, tuple[PyTree, dict[str, jax.Array]]]:
    """Returns (loss [], (new batch_stats, metrics: name -> [])); pure and jitted.

    With `train=False` it is the loss of inference: running statistics are used and
    returned unchanged, and nothing is dropped.
    """
    ...

  def pictures(
    self, params: PyTree, batch_stats: PyTree, batch: Batch, key: jax.Array
  ) -> Mapping[str, np.ndarray]:
    """Returns name -> uint8 [h, w, 3]; runs on one device, outside the step."""
    ...
