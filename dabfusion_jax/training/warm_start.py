"""Parameters of another run as the beginning of a new one."""

import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from absl import logging
from flax import traverse_util

from dabfusion_jax.storage.model_card import training_command
from dabfusion_jax.storage.saved_stage import SavedStage
from dabfusion_jax.training.state import TrainState
from data_pipeline.errors import UserError


class WarmStartError(UserError):
  """The parts asked for are not there, or have other shapes; one line says which."""


def history_of(saved: SavedStage) -> tuple[dict[str, Any], ...]:
  """Returns the runs that led to a saved stage, itself last, for a run's settings."""
  last = {
    "command": training_command(saved.settings),
    "step": saved.step,
    "digest": saved.digest,
  }
  return (*saved.settings.history, last)


def make_warm_start(
  saved: SavedStage, parts: Sequence[str], folder: str | pathlib.Path
) -> Callable[[TrainState], TrainState]:
  """Returns a function new state -> the same state with parameters of `saved`.

  The optimizer starts from scratch. Shardings and dtypes stay those of the state.

  Args:
    saved: the stage whose parameters, averages and statistics are taken.
    parts: top-level modules to take, e.g. ("detector", "dense_motion"); (): all.
    folder: where `saved` lies, for messages.

  Raises (when called):
    WarmStartError: a part is unknown, or an array differs in shape.
  """

  # On the host: what a device holds here, it would hold during the whole training.
  params, batch_stats = jax.device_get((saved.params, saved.batch_stats))
  step = saved.step

  def take(chosen, ours, theirs):
    ours = traverse_util.flatten_dict(ours, sep="/")
    theirs = traverse_util.flatten_dict(theirs, sep="/")
    taken = {}
    for name, old in ours.items():
      if name.split("/")[0] not in chosen:
        taken[name] = old
        continue
      new = theirs.get(name)
      if new is None or new.shape != old.shape:
        shape = "nothing" if new is None else f"shape {new.shape}"
        raise WarmStartError(
          f"{folder} does not fit: {name} has shape {old.shape} here, {shape} there;"
          " leave its part out of init_parts."
        )
      # A copy each: parameters and averages are both donated to the training step.
      taken[name] = jax.device_put(np.array(new, old.dtype), old.sharding)
    return traverse_util.unflatten_dict(taken, sep="/")

  def initialise(state: TrainState) -> TrainState:
    known = sorted(state.params)
    unknown = sorted(set(parts) - set(known))
    if unknown:
      raise WarmStartError(
        f"No part {unknown} to start from {folder}; parts are {known}."
      )
    chosen = set(parts or known)
    taken = take(chosen, state.params, params)
    logging.info("Started %s from %s, step %d.", sorted(chosen), folder, step)
    return state.replace(
      params=taken,
      ema_params=take(chosen, state.ema_params, params),
      batch_stats=take(chosen, state.batch_stats, batch_stats),
    )

  return initialise
