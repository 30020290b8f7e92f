"""One update of the training state, as a pure function."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from dabfusion_jax.parallel import sharding
from dabfusion_jax.settings.loop import LoopSettings
from dabfusion_jax.stages.base import Stage
from dabfusion_jax.training.optimizer import Optimizer
from dabfusion_jax.training.state import TrainState, update_ema
from data_pipeline.errors import UserError

PyTree = Any


def make_train_step(
  stage: Stage,
  optimizer: Optimizer,
  settings: LoopSettings,
) -> Callable:
  """Returns a pure (state, frozen, global batch, key, rate) -> (state, metrics).

  It minimises the loss of `stage` by `optimizer` (`make_optimizer`), with the moving
  average, gradient accumulation and treatment of bad steps that `settings` say. The
  frozen weights are those of the stage (`Stage.frozen`); the rate, float32 [], is
  `optimizer.learning_rate` of the step, from the host. A bad step
  (`is_bad`) that is skipped changes nothing but the step's number.
  """
  spike_grad_norm = settings.spike_grad_norm
  frozen_parts = settings.frozen_parts
  guarded = settings.max_skipped_steps > 0 or spike_grad_norm is not None

  def train_step(state, frozen, batch, key, learning_rate):
    key = jax.random.fold_in(key, state.step)
    grads, batch_stats, metrics = mean_gradients(
      stage, state, frozen, batch, key, settings.gradient_accumulation
    )
    # Without gradients Adam changes nothing, and XLA drops their backward pass.
    grads = grads | {
      name: jax.tree.map(jnp.zeros_like, grads[name]) for name in frozen_parts
    }
    batch_stats = batch_stats | {
      name: state.batch_stats[name]
      for name in frozen_parts
      if name in state.batch_stats
    }
    updates, opt_state = optimizer.tx.update(
      grads, state.opt_state, state.params, learning_rate=learning_rate
    )
    params = optax.apply_updates(state.params, updates)
    ema_params = update_ema(state.ema_params, params, settings.ema_decay, state.step)
    metrics = metrics | {
      "learning_rate": learning_rate,
      "grad_norm": optax.tree.norm(grads),
      "update_norm": optax.tree.norm(updates),
      "param_norm": optax.tree.norm(params),
    }
    after = TrainState(state.step + 1, params, batch_stats, opt_state, ema_params)
    if guarded:
      bad = is_bad(metrics, spike_grad_norm)
      metrics["skipped"] = bad.astype(jnp.int32)
      before = state.replace(step=after.step)
      after = jax.tree.map(lambda old, new: jnp.where(bad, old, new), before, after)
    return after, metrics

  return train_step


def check_frozen_parts(parts: Sequence[str], params: Mapping[str, PyTree]) -> None:
  """Checks that all `parts` are top-level modules of `params`, and not all of them.

  Raises:
    UserError: they are not; the message names those that are there.
  """
  known = sorted(params)
  if unknown := sorted(set(parts) - set(known)):
    raise UserError(f"frozen_parts: no part {unknown}; parts are {known}.")
  if set(parts) == set(known):
    raise UserError(f"frozen_parts: all parts, {known}, are frozen; nothing to train.")


def is_bad(
  metrics: Mapping[str, jax.Array], spike_grad_norm: float | None
) -> jax.Array:
  """Returns whether a step must not be taken: bool []."""
  finite = jnp.isfinite(metrics["loss"]) & jnp.isfinite(metrics["grad_norm"])
  bound = jnp.inf if spike_grad_norm is None else spike_grad_norm
  return ~(finite & (metrics["grad_norm"] <= bound))


def split_batch(batch: PyTree, num_parts: int) -> PyTree:
  """Returns a batch [b ...] in parts, [num_parts, b / num_parts, ...].

  A part is every num_parts-th example, so that each device splits its own examples.
  """
  return jax.tree.map(
    lambda x: jnp.swapaxes(x.reshape(-1, num_parts, *x.shape[1:]), 0, 1), batch
  )


def mean_gradients(
  stage: Stage,
  state: TrainState,
  frozen: PyTree,
  batch: PyTree,
  key: jax.Array,
  num_parts: int,
) -> tuple[PyTree, PyTree, dict[str, jax.Array]]:
  """Returns (gradients, batch_stats, metrics with `loss`) of a batch.

  In `num_parts` parts, activations take the memory of one part, and the gradient is the
  mean over parts. Without BatchNorm it is the gradient of the whole batch, with other
  noise; with it, statistics are per part and the running ones are updated by each.
  """

  def part(batch_stats, batch, key):
    (loss, (batch_stats, metrics)), grads = jax.value_and_grad(
      stage.loss, has_aux=True
    )(state.params, batch_stats, frozen, batch, key)
    return batch_stats, (grads, metrics | {"loss": loss})

  if num_parts == 1:
    batch_stats, (grads, metrics) = part(state.batch_stats, batch, key)
    return grads, batch_stats, metrics

  parts = split_batch(batch, num_parts)
  zeros = lambda tree: jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), tree)
  first = jax.tree.map(lambda x: x[0], parts)
  sums = zeros(jax.eval_shape(part, state.batch_stats, first, key)[1])

  def body(carry, inputs):
    batch_stats, sums = carry
    index, examples = inputs
    examples = jax.tree.map(sharding.constrain_batch, examples)
    batch_stats, values = part(batch_stats, examples, jax.random.fold_in(key, index))
    return (batch_stats, jax.tree.map(jnp.add, sums, values)), None

  (batch_stats, sums), _ = jax.lax.scan(
    body, (state.batch_stats, sums), (jnp.arange(num_parts), parts)
  )
  grads, metrics = jax.tree.map(lambda x: x / num_parts, sums)
  return grads, batch_stats, metrics
