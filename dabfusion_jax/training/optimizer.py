"""Plain settings -> Adam with its learning-rate schedule."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import optax

from data_pipeline.errors import UserError

EPSILON = 1e-8  # Adam's, in both stages
MILESTONE_FACTOR = 0.1  # the paper's "x0.1 after" (its factor is implied)


@dataclasses.dataclass(frozen=True)
class Optimizer:
  """`tx` updates the parameters; `learning_rate(step)` is what it will use."""

  tx: optax.GradientTransformation
  learning_rate: Callable[[Any], Any]


def make_schedule(
  *, learning_rate: float, milestones: Sequence[int], warmup_steps: int
) -> Callable[[Any], Any]:
  """Learning rate of a step, counted from 0.

  From each milestone on, the rate is a tenth of what it was. Over the first
  `warmup_steps` it also rises linearly, ending at the full rate; 0 switches that
  off.

  Raises:
    UserError: rate or steps that cannot be meant.
  """
  if learning_rate <= 0:
    raise UserError(f"learning_rate must be positive, got {learning_rate}.")
  if warmup_steps < 0:
    raise UserError(f"warmup_steps must not be negative, got {warmup_steps}.")
  if list(milestones) != sorted(set(milestones)) or any(m <= 0 for m in milestones):
    raise UserError(
      f"milestones must be positive steps in rising order, got {tuple(milestones)}."
    )
  decayed = optax.piecewise_constant_schedule(
    learning_rate, {m: MILESTONE_FACTOR for m in milestones}
  )
  if not warmup_steps:
    return decayed
  return lambda step: decayed(step) * jnp.minimum(1.0, (step + 1) / warmup_steps)


def make_optimizer(
  *,
  learning_rate: float,
  b1: float,
  b2: float,
  milestones: Sequence[int],
  warmup_steps: int,
  clip_norm: float | None,
) -> Optimizer:
  """Adam (Kingma & Ba 2015), with clipping by global norm where asked for.

  Args:
    learning_rate: at its highest, see `make_schedule`.
    b1: decay of the first moment.
    b2: decay of the second moment.
    milestones: steps from which the rate is a tenth of what it was.
    warmup_steps: length of the linear rise; 0 for none.
    clip_norm: largest global gradient norm; None to leave gradients alone.

  Raises:
    UserError: a value that cannot be meant.
  """
  if not (0 <= b1 < 1 and 0 <= b2 < 1):
    raise UserError(f"b1 and b2 must lie in [0, 1), got {b1} and {b2}.")
  if clip_norm is not None and clip_norm <= 0:
    raise UserError(f"clip_norm must be positive or None, got {clip_norm}.")
  schedule = make_schedule(
    learning_rate=learning_rate, milestones=milestones, warmup_steps=warmup_steps
  )
  chain = [
    optax.scale_by_adam(b1=b1, b2=b2, eps=EPSILON),
    optax.scale_by_learning_rate(schedule),
  ]
  if clip_norm is not None:
    chain.insert(0, optax.clip_by_global_norm(clip_norm))
  return Optimizer(optax.chain(*chain), schedule)
