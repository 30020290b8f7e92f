"""The loss on held-out data, measured while a run trains."""

import itertools
import math
from collections.abc import Iterable

import jax
import jax.numpy as jnp
from absl import logging

from dabfusion_jax.parallel import sharding
from dabfusion_jax.settings.loop import LoopSettings
from dabfusion_jax.stages.base import PyTree, Stage
from dabfusion_jax.training.hooks import Hook
from dabfusion_jax.training.state import TrainState
from dabfusion_jax.training.step import split_batch
from dabfusion_jax.training.writers import NullWriter, Writer


class HeldOutLoss(Hook):
  """Measures the stage's loss on the same held-out batches with the same noise.

  The averaged parameters and the running statistics are used, as in inference. Values
  are logged as `eval/loss` and `eval/METRIC`.
  """

  before_save = True

  def __init__(
    self,
    stage: Stage,
    frozen: PyTree,
    dataset: Iterable[PyTree],
    key: jax.Array,
    mesh: jax.sharding.Mesh,
    writer: Writer | NullWriter,
    settings: LoopSettings,
  ):
    """Measures every `eval_every` steps and after the last step.

    `frozen` are the stage's frozen weights, on the mesh. `dataset` yields this
    process's share of batches, the same ones for each iterator.
    """
    self._frozen, self._dataset, self._key = frozen, dataset, key
    self._batch_sharding = sharding.batch_sharding(mesh)
    self._writer, self._settings = writer, settings
    self._measured: tuple[int, float] | None = None  # (step, loss)
    every = settings.eval_every, settings.checkpoint_every
    if settings.keep_best_checkpoints and math.lcm(*every) > max(every):
      logging.warning(
        "Only checkpoints of every %d steps have a held-out loss by which the best are"
        " kept: eval_every is %d, checkpoint_every %d.",
        *(math.lcm(*every), *every),
      )

    num_parts = settings.gradient_accumulation

    def metrics(params, batch_stats, frozen, batch, key):
      def of_part(index, part):
        part = jax.tree.map(sharding.constrain_batch, part)
        noise = key if num_parts == 1 else jax.random.fold_in(key, index)
        loss, (_, metrics) = stage.loss(
          params, batch_stats, frozen, part, noise, train=False
        )
        return {"loss": loss} | metrics

      if num_parts == 1:
        return of_part(0, batch)
      # A batch that is trained on in parts has no room as a whole.
      parts = jnp.arange(num_parts), split_batch(batch, num_parts)
      values = jax.lax.map(lambda inputs: of_part(*inputs), parts)
      return jax.tree.map(lambda x: x.mean(axis=0), values)

    self._metrics = jax.jit(metrics)

  def loss_at(self, step: int) -> float:
    """Returns the loss after `step`; inf if it was not measured then."""
    if self._measured is None or self._measured[0] != step:
      return math.inf
    return self._measured[1]

  def is_due(self, step: int) -> bool:
    settings = self._settings
    return step % settings.eval_every == 0 or step == settings.num_steps

  def on_state(self, step: int, state: TrainState) -> None:
    """Measures and logs the mean over the batches."""
    num_batches = self._settings.eval_batches
    batches = itertools.islice(iter(self._dataset), num_batches)
    sums: dict[str, float] = {}
    for index, batch in enumerate(batches):
      metrics = self._metrics(
        state.ema_params,
        state.batch_stats,
        self._frozen,
        sharding.to_global_batch(batch, self._batch_sharding),
        jax.random.fold_in(self._key, index),
      )
      for name, value in jax.device_get(metrics).items():
        sums[name] = sums.get(name, 0.0) + float(value)
    means = {name: value / num_batches for name, value in sums.items()}
    self._measured = (step, means["loss"])
    if not math.isfinite(means["loss"]):
      logging.warning(
        "The held-out loss is %g at step %d, which is not kept as one of the best.",
        means["loss"],
        step,
      )
    self._writer.write_scalars(step, {f"eval/{k}": v for k, v in means.items()})
