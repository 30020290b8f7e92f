"""Pictures of what a run has learnt, drawn while it trains."""

import jax

from dabfusion_jax.parallel import sharding
from dabfusion_jax.settings.loop import LoopSettings
from dabfusion_jax.stages.base import PyTree, Stage
from dabfusion_jax.training.hooks import Hook
from dabfusion_jax.training.state import TrainState
from dabfusion_jax.training.writers import NullWriter, Writer


class Pictures(Hook):
  """Writes the stage's pictures of one batch, always with the same noise."""

  def __init__(
    self,
    stage: Stage,
    batch: PyTree,
    key: jax.Array,
    mesh: jax.sharding.Mesh,
    writer: Writer | NullWriter,
    settings: LoopSettings,
  ):
    """Draws `batch` every `picture_every` steps and after the last step; 0: never."""
    self._stage, self._batch, self._key = stage, batch, key
    self._mesh, self._writer, self._settings = mesh, writer, settings

  def is_due(self, step: int) -> bool:
    every = self._settings.picture_every
    return every > 0 and (step % every == 0 or step == self._settings.num_steps)

  def on_state(self, step: int, state: TrainState) -> None:
    """Draws on one device with the averaged parameters; only process 0 writes."""
    params, batch_stats = sharding.host_copy(
      (state.ema_params, state.batch_stats), self._mesh
    )
    if jax.process_index() == 0:
      with jax.set_mesh(sharding.one_device_mesh()):
        pictures = self._stage.pictures(params, batch_stats, self._batch, self._key)
      self._writer.write_pictures(step, pictures)
