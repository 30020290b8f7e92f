"""What the training loop asks of a stage, and nothing more."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np

PyTree = Any  # nested dicts of arrays


@runtime_checkable
class Stage(Protocol):
  """One trainable stage: its parameters, its loss, and pictures to judge it by.

  `batch` is a dict of arrays whose first axis is the example. Under the loop it
  is the global batch: means and BatchNorm statistics are over all devices.
  """

  def init(self, key: jax.Array, batch: PyTree) -> tuple[PyTree, PyTree]:
    """Returns (params, batch_stats); traced only, the batch holds zeros."""
    ...

  def loss(
    self, params: PyTree, batch_stats: PyTree, batch: PyTree, key: jax.Array
  ) -> tuple[jax.Array, tuple[PyTree, dict[str, jax.Array]]]:
    """Returns (loss [], (new batch_stats, metrics: name -> [])); pure, jitted."""
    ...

  def pictures(
    self, params: PyTree, batch_stats: PyTree, batch: PyTree, key: jax.Array
  ) -> Mapping[str, np.ndarray]:
    """Returns name -> uint8 [H, W, 3]; runs on one device, outside the step."""
    ...
