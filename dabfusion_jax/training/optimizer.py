"""Settings to Adam with its learning-rate schedule."""

import dataclasses
from collections.abc import Callable

import numpy as np
import optax

from dabfusion_jax.settings.loop import OptimizerSettings

EPSILON = 1e-8  # Adam's, in both stages
MILESTONE_FACTOR = 0.1  # the paper's "x0.1 after" (its factor is implied)


@dataclasses.dataclass(frozen=True)
class Optimizer:
  """Adam, and the learning rate that its next update takes, given the step.

  The rate is an argument of `tx.update`, `learning_rate`, and no part of the compiled
  step, so that resuming with another schedule needs no recompilation.
  """

  tx: optax.GradientTransformationExtraArgs
  learning_rate: Callable[[int], np.float32]


def make_schedule(settings: OptimizerSettings) -> Callable[[int], np.float32]:
  """Returns the learning rate as a function of the step, counted from 0.

  From each milestone on, the rate is a tenth of what it was. Over the first
  `warmup_steps` it also rises linearly to the full rate.
  """

  def learning_rate(step: int) -> np.float32:
    passed = sum(milestone <= step for milestone in settings.milestones)
    rate = settings.learning_rate * MILESTONE_FACTOR**passed
    if settings.warmup_steps:
      rate *= min(1.0, (step + 1) / settings.warmup_steps)
    return np.float32(rate)

  return learning_rate


def make_optimizer(settings: OptimizerSettings) -> Optimizer:
  """Returns Adam (Kingma & Ba 2015), with clipping by global norm if asked for."""
  chain = [
    optax.scale_by_adam(b1=settings.b1, b2=settings.b2, eps=EPSILON),
    _scale_by_given_rate(),
  ]
  if settings.clip_norm is not None:
    chain.insert(0, optax.clip_by_global_norm(settings.clip_norm))
  return Optimizer(optax.chain(*chain), make_schedule(settings))


def _scale_by_given_rate() -> optax.GradientTransformationExtraArgs:
  """Returns a transformation that scales by minus its argument `learning_rate`.

  Its state is that of a schedule, as checkpoints have it.
  """

  def update(updates, state, params=None, *, learning_rate, **unused):
    scale = optax.scale_by_learning_rate(lambda count: learning_rate)
    return scale.update(updates, state, params)

  init = optax.scale_by_learning_rate(lambda count: 0.0).init
  return optax.GradientTransformationExtraArgs(init, update)
