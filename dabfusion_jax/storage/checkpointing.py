"""Checkpoints of a training run: state and data position together.

The only importer of orbax. Layout: WORKDIR/checkpoints/STEP/{state,data}.

A save runs in the background and appears under its final name only when complete, so
a process that is killed at any moment leaves the last complete checkpoint in place.
An unreadable checkpoint is set aside, with a warning, in favour of the one before it.
"""

import asyncio
import contextlib
import json
import math
import sys
from typing import Any

import jax
import numpy as np
from absl import logging
from etils import epath
from orbax.checkpoint import v1 as ocp
from orbax.checkpoint._src.futures.synchronization import OperationIdGenerator
from orbax.checkpoint._src.serialization.ocdbt_utils import (
  merge_ocdbt_per_process_files,
)
from orbax.checkpoint._src.serialization.tensorstore_utils import get_ts_context

from dabfusion_jax.storage import agreement, attempts, checkpoint_files
from dabfusion_jax.storage.checkpoint_files import FOLDER, complete_steps
from dabfusion_jax.storage.iterator_checkpoint import IteratorCheckpoint
from dabfusion_jax.storage.plain_path import plain_path
from dabfusion_jax.storage.run_folder import folder_at
from data_pipeline import files
from data_pipeline.errors import UserError

PyTree = Any


class CheckpointError(UserError):
  """One line: what could not be saved or restored, where, and what to do."""


class Checkpoints:
  """The checkpoints of one workdir; a context manager that waits for its saves."""

  def __init__(
    self,
    workdir: epath.PathLike,
    keep: int,
    keep_best: int = 0,
    best_by: str = "train_loss",
  ):
    """Opens or creates WORKDIR/checkpoints, and removes what killed saves left there.

    Args:
      workdir: folder of the run; no other process may be training in it.
      keep: how many of the newest checkpoints stay, at least 1.
      keep_best: how many of those with the lowest loss stay as well.
      best_by: name of that loss. Checkpoints with another one rank behind all with it.
    """
    self._folder = folder_at(workdir) / FOLDER
    self._best_by = best_by
    self._unfinished: int | None = None  # the step that is being saved
    self._saving: Any = None  # its response, which ends a thread when it is asked
    if jax.process_index() == 0:
      checkpoint_files.remove_leftovers(self._folder)
      checkpoint_files.remove_damaged_losses(self._folder)
    agreement.wait_for_all("leftover checkpoints")
    policies = ocp.training.preservation_policies
    self._checkpointer = ocp.training.Checkpointer(
      plain_path(self._folder),
      # The loop decides when to save. Both policies are given because their
      # defaults save as often as they can and keep everything.
      save_decision_policy=ocp.training.save_decision_policies.FixedIntervalPolicy(1),
      preservation_policy=policies.AnyPreservationPolicy(
        [
          policies.LatestN(keep),
          policies.BestN(
            # Earlier versions did not say which loss it was.
            get_metric_fn=lambda metrics: metrics.get(
              best_by, metrics.get("loss", math.inf)
            ),
            reverse=True,
            n=keep_best,
            keep_checkpoints_without_metrics=False,
          ),
        ]
      ),
    )

  def __enter__(self):
    self._quiet = contextlib.ExitStack()
    self._quiet.enter_context(_quiet_orbax())
    return self

  def __exit__(self, error_type, error, traceback):
    with self._quiet:
      try:
        with self._clear_errors("the last checkpoint"):
          self._checkpointer.close()
      except CheckpointError as close_error:
        if error_type is None:
          raise
        logging.error("%s", close_error)  # the error being raised says why we stop

  def save(self, step: int, state: PyTree, batches: Any, loss: float) -> None:
    """Starts saving `state` and the position of the iterator `batches`.

    Returns once the values are copied, and raises the error of the save before, if it
    failed. The checkpoints with the lowest `loss` are the best; one whose loss is not
    finite never is.
    """
    self._finish()
    with self._clear_errors(f"step {step}"):
      self._saving = self._checkpointer.save_checkpointables_async(
        step,
        {"state": state, "data": IteratorCheckpoint(batches)},
        force=True,
        # Without metrics it is never kept as one of the best. NaN has no order.
        metrics={self._best_by: float(loss)} if math.isfinite(loss) else None,
      )
    self._unfinished = step

  def wait(self) -> int | None:
    """Waits for an unfinished save; returns the newest step that is safe, if any."""
    self._finish()
    return max(complete_steps(self._folder), default=None)

  def _finish(self) -> None:
    """Waits for an unfinished save; what goes wrong is that step's error."""
    saving, self._saving = self._saving, None
    with self._clear_errors(f"step {self._unfinished}"):
      self._checkpointer.wait()
      if saving is not None:
        saving.result()
    self._unfinished = None

  def restore(self, abstract: PyTree, batches: Any) -> PyTree | None:
    """Returns the newest readable state, and moves `batches` to its position then.

    With several processes all call it and all restore the same step: a step that one of
    them cannot read, none restores.

    Args:
      abstract: tree of `ShapeDtypeStruct` with the shardings to restore into.
      batches: new iterator with `set_state`.

    Returns:
      The state, or None when nothing was ever saved.

    Raises:
      CheckpointError: there are checkpoints and none can be read.
    """
    failures, unreadable, step = [], [], None
    while (step := agreement.newest_step(self._folder, before=step)) is not None:
      state, failure = attempts.attempt(self._load, step, abstract, batches)
      others = agreement.failing_processes(failed=failure is not None)
      _align_operations()
      if not others:
        self._set_aside(unreadable)
        return state
      unreadable.append(step)
      failures.append(failure or f"process {others[0]} cannot read it")
      logging.warning("Cannot read checkpoint %d (%s).", step, failures[-1])
    if failures:
      raise CheckpointError(
        f"None of the checkpoints in {self._folder} can be read ({failures[0]}); "
        "choose another workdir to start from scratch."
      )
    return None

  def _load(self, step: int, abstract: PyTree, batches: Any) -> PyTree:
    path = plain_path(self._folder) / str(step)
    with _alone():
      _merge_files(path)
      # One at a time: when one of two fails, orbax never awaits the other.
      ocp.load_checkpointables(path, {"data": IteratorCheckpoint(batches)})
      return ocp.load_checkpointables(path, {"state": abstract})["state"]

  def _set_aside(self, unreadable: list[int]) -> None:
    if not unreadable:
      return
    if jax.process_index() == 0:
      for step in unreadable:
        checkpoint_files.set_aside(self._folder, step)
    agreement.wait_for_all("unreadable checkpoints")
    self._checkpointer.reload()

  @contextlib.contextmanager
  def _clear_errors(self, what: str):
    """Turns any error of a save into one line."""
    try:
      yield
    except Exception as error:
      good = complete_steps(self._folder)
      state = f"step {good[-1]} is safe" if good else "nothing was saved before"
      cause, cure = attempts.first_line(error), ""
      if files.is_disk_full(error):
        cause, cure = "the disk is full", "; free space and run the same command again"
      raise CheckpointError(
        f"Cannot save {what} in {self._folder}: {cause} ({state}){cure}."
      ) from error


def load_params(
  workdir: epath.PathLike, *, ema: bool = True, step: int | None = None
) -> tuple[PyTree, PyTree, int]:
  """Returns the parameters of a run for inference, without knowing its optimizer.

  Args:
    workdir: folder of the run.
    ema: whether to take the moving average of the parameters.
    step: which checkpoint; None: the newest readable one.

  Returns:
    (params, batch_stats, step), arrays on the default device.

  Raises:
    CheckpointError: no such checkpoint, or it cannot be read.
  """
  folder = folder_at(workdir) / FOLDER
  steps = complete_steps(folder)
  if not steps:
    raise CheckpointError(f"No checkpoint in {folder}; is this a training workdir?")
  if step is not None and step not in steps:
    raise CheckpointError(f"No checkpoint of step {step} in {folder}; it has {steps}.")
  names = ("ema_params" if ema else "params", "batch_stats")
  for candidate in reversed(steps) if step is None else [step]:
    with _quiet_orbax():
      path = plain_path(folder) / str(candidate)
      state, failure = attempts.attempt(_load_part, path, names)
    if failure is None:
      return *jax.device_put(state), candidate
    message = f"Cannot read checkpoint {candidate} in {folder} ({failure})."
    logging.warning("%s", message)
  raise CheckpointError(message)


@contextlib.contextmanager
def _quiet_orbax():
  """Drops orbax's own log: some 30 lines per save, and errors that we raise anyway.

  If one array cannot be written, orbax closes the loop that waits for all of them, and
  the others, which still report to it, would print a page each.
  """
  logger = logging.get_absl_logger()
  is_ours = lambda record: "orbax" not in record.pathname
  before = sys.unraisablehook

  def hook(error: Any) -> None:
    if str(error.exc_value) != "Event loop is closed":
      before(error)

  logger.addFilter(is_ours)
  sys.unraisablehook = hook
  try:
    yield
  finally:
    logger.removeFilter(is_ours)
    if sys.unraisablehook is hook:
      sys.unraisablehook = before


def _load_part(path: epath.PathLike, names: tuple[str, ...]) -> list[PyTree]:
  """Reads some fields of a saved state as numpy arrays, and no others."""
  _merge_files(path)
  saved = ocp.checkpointables_metadata(path).metadata["state"]
  wanted = {
    name: jax.tree.map(lambda x: np.empty(x.shape, x.dtype), tree)
    if name in names
    else jax.tree.map(lambda x: ocp.PLACEHOLDER, tree)
    for name, tree in saved.items()
  }
  state = ocp.load(path, wanted, checkpointable_name="state")
  return [state[name] for name in names]


def _merge_files(path: epath.PathLike) -> None:
  """Completes a checkpoint that orbax wrote below a folder named like a pattern.

  It could not find the files of the processes there, and so did not merge them.
  """
  state = epath.Path(path) / "state"
  is_merged = (state / "manifest.ocdbt").exists()
  if is_merged or not (state / "ocdbt.process_0" / "manifest.ocdbt").exists():
    return
  metadata = json.loads((state / "_METADATA").read_text())
  context = get_ts_context(use_ocdbt=True)
  asyncio.run(
    merge_ocdbt_per_process_files(
      state, context, use_zarr3=metadata.get("use_zarr3", False)
    )
  )


def _alone() -> ocp.Context:
  """Lets orbax read without waiting for other processes.

  By default each waits at the end of a load for all others: five minutes if one failed.
  """
  index = jax.process_index()
  options = ocp.options.MultiprocessingOptions(
    primary_host=index, active_processes={index}
  )
  return ocp.Context(multiprocessing_options=options)


def _align_operations() -> None:
  """Brings orbax's operation counts of all processes to the same number.

  Processes synchronise under that number: if one failed earlier than another, the
  counts differ and the next save would never end.
  """
  done = int(OperationIdGenerator.get_current_operation_id())
  for _ in range(done, agreement.largest(done)):
    OperationIdGenerator.next_operation_id()
