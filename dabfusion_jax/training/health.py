"""Whether a training is still sound."""

import math
from collections.abc import Mapping

from absl import logging

from dabfusion_jax.storage.checkpointing import Checkpoints

MUST_BE_FINITE = ("loss", "grad_norm", "update_norm", "param_norm")


class Judge:
  """Ends a training gone bad; counts skipped steps and averages the loss."""

  def __init__(self, checkpoints: Checkpoints, max_skipped_steps: int):
    self._checkpoints = checkpoints
    self._max_skipped_steps = max_skipped_steps
    self._in_a_row = 0
    self._skipped: int | None = None  # since the last report; None: never asked to
    self._losses: list[float] = []  # since the last save

  def __call__(self, step: int, metrics: Mapping[str, float]) -> None:
    """Takes the metrics of a step; raises FloatingPointError unless all is well."""
    if "skipped" in metrics:
      self._skipped = (self._skipped or 0) + int(metrics["skipped"])
    if metrics.get("skipped"):
      self._in_a_row += 1
      logging.warning(
        "Skipped step %d: loss %g, gradient norm %g.",
        step,
        metrics["loss"],
        metrics["grad_norm"],
      )
      if self._in_a_row > self._max_skipped_steps:
        self._stop(f"{self._in_a_row} bad steps in a row at step {step}")
      return
    self._in_a_row = 0
    for name in MUST_BE_FINITE:
      if not math.isfinite(metrics[name]):
        self._stop(f"{name} is {metrics[name]} at step {step}")
    self._losses.append(metrics["loss"])

  def counts(self) -> dict[str, float]:
    """Number of steps skipped since it was last asked for, if any may be."""
    if self._skipped is None:
      return {}
    skipped, self._skipped = self._skipped, 0
    return {"skipped": float(skipped)}

  def mean_loss(self) -> float:
    """Of the steps since it was last asked for; inf if all were skipped."""
    losses, self._losses = self._losses, []
    return sum(losses) / len(losses) if losses else math.inf

  def _stop(self, what: str) -> None:
    good = self._checkpoints.wait()
    saved = "nothing is saved" if good is None else f"step {good} is saved"
    raise FloatingPointError(
      f"{what} ({saved}). Look at the data; go on with max_skipped_steps; or start anew"
      " with a lower learning rate or clip_norm."
    )
