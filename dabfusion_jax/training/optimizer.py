"""Settings to Adam with its learning-rate schedule."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import optax

from dabfusion_jax.settings.loop import OptimizerSettings

EPSILON = 1e-8  # Adam's, in both stages
MILESTONE_FACTOR = 0.1  # the paper's "x0.1 after" (its factor is implied)


@dataclasses.dataclass(frozen=True)
class Optimizer:
  """`tx` updates the parameters; `learning_rate(step)` is the rate it uses."""

  tx: optax.GradientTransformation
  learning_rate: Callable[[Any], Any]


def make_schedule(settings: OptimizerSettings) -> Callable[[Any], Any]:
  """Returns the learning rate as a function of the step, counted from 0.

  From each milestone on, the rate is a tenth of what it was. Over the first
  `warmup_steps` it also rises linearly to the full rate.
  """
  decayed = optax.piecewise_constant_schedule(
    settings.learning_rate, {m: MILESTONE_FACTOR for m in settings.milestones}
  )
  warmup_steps = settings.warmup_steps
  if not warmup_steps:
    return decayed
  return lambda step: decayed(step) * jnp.minimum(1.0, (step + 1) / warmup_steps)


def make_optimizer(settings: OptimizerSettings) -> Optimizer:
  """Returns Adam (Kingma & Ba 2015), with clipping by global norm if asked for."""
  schedule = make_schedule(settings)
  chain = [
    optax.scale_by_adam(b1=settings.b1, b2=settings.b2, eps=EPSILON),
    optax.scale_by_learning_rate(schedule),
  ]
  if settings.clip_norm is not None:
    chain.insert(0, optax.clip_by_global_norm(settings.clip_norm))
  return Optimizer(optax.chain(*chain), schedule)
