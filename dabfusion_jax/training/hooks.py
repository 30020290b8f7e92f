"""The interface of whatever happens beside the training steps."""

import contextlib

from dabfusion_jax.training.state import TrainState


class Hook:
  """Does something beside the training; every method does nothing by default.

  A hook is a context manager around the whole loop. It never changes the state.
  """

  before_save = False  # whether `on_state` comes before the checkpoint of its step

  def __enter__(self):
    return self

  def __exit__(self, *unused):
    pass

  def around_step(self, step: int) -> contextlib.AbstractContextManager:
    """Returns the context in which the batch of `step` is read and the step started."""
    return contextlib.nullcontext()

  def after_step(self, step: int, metrics: dict[str, float]) -> None:
    """Reads the metrics of a finished step; the next one may already be running."""

  def scalars(self) -> dict[str, float]:
    """Returns what to log beside the metrics; called at each log step."""
    return {}

  def is_due(self, step: int) -> bool:
    """Returns whether `on_state` has to see the state after `step`."""
    return False

  def on_state(self, step: int, state: TrainState) -> None:
    """Reads the state after a step for which `is_due` was true."""
