"""The check that metrics are valid, step by step."""

import math
from collections.abc import Callable

from absl import logging

from dabfusion_jax.training.hooks import Hook
from data_pipeline.errors import UserError

MUST_BE_FINITE = ("loss", "grad_norm", "update_norm", "param_norm")


class InvalidMetricError(UserError):
  """A loss, gradient, update or parameter is not finite, or too many steps are bad."""


class HealthCheck(Hook):
  """Stops a training whose metrics become invalid, and averages its loss."""

  def __init__(self, last_saved: Callable[[], int | None], max_skipped_steps: int):
    """Takes how to find the newest saved step, and how many bad steps are tolerated."""
    self._last_saved = last_saved
    self._max_skipped_steps = max_skipped_steps
    self._consecutive = 0
    self._skipped: int | None = None  # since the last log; None: skipping is off
    self._losses: list[float] = []  # since the last save

  def after_step(self, step: int, metrics: dict[str, float]) -> None:
    """Checks the metrics of a step.

    Raises:
      InvalidMetricError: a metric is not finite, or one bad step too many.
    """
    if "skipped" in metrics:
      self._skipped = (self._skipped or 0) + int(metrics["skipped"])
    if metrics.get("skipped"):
      self._consecutive += 1
      logging.warning(
        "Skipped step %d: loss %g, gradient norm %g.",
        step,
        metrics["loss"],
        metrics["grad_norm"],
      )
      if self._consecutive > self._max_skipped_steps:
        self._stop(f"{self._consecutive} consecutive bad steps at step {step}")
      return
    self._consecutive = 0
    for name in MUST_BE_FINITE:
      if not math.isfinite(metrics[name]):
        self._stop(f"{name} is {metrics[name]} at step {step}")
    self._losses.append(metrics["loss"])

  def scalars(self) -> dict[str, float]:
    """Returns the number of steps skipped since the last call, if any may be."""
    if self._skipped is None:
      return {}
    skipped, self._skipped = self._skipped, 0
    return {"skipped": float(skipped)}

  def mean_loss(self) -> float:
    """Returns the mean loss since the last call; inf if all steps were skipped."""
    losses, self._losses = self._losses, []
    return sum(losses) / len(losses) if losses else math.inf

  def _stop(self, what: str) -> None:
    step = self._last_saved()
    saved = "nothing is saved" if step is None else f"step {step} is saved"
    raise InvalidMetricError(
      f"{what} ({saved}). Look at the data; continue with max_skipped_steps; or start"
      " again with a lower learning rate or clip_norm."
    )
