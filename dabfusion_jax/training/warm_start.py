"""Parameters of another run as the beginning of a new one."""

import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from absl import logging
from flax import traverse_util

from dabfusion_jax.storage.saved_stage import Trained, load_trained
from dabfusion_jax.training.state import TrainState
from data_pipeline.errors import UserError


class WarmStartError(UserError):
  """The parts asked for are not there, or have other shapes; one line says which."""


def make_warm_start(folder: str | pathlib.Path, stage: str, parts: Sequence[str]):
  """Returns fresh state -> the same with parameters of `folder`, for `train`.

  Read only where it is used: a run that resumes does not need the folder any more.

  Args:
    folder: workdir or published folder of a trained stage.
    stage: "autoencoder" or "diffusion"; it must be the same.
    parts: top-level modules to take, e.g. ("detector", "dense_motion"); empty: all.
  """

  def initialise(state: TrainState) -> TrainState:
    return take_parts(state, load_trained(folder, stage), parts, folder)

  return initialise


def take_parts(
  state: TrainState, trained: Trained, parts: Sequence[str], folder: Any
) -> TrainState:
  """`state` with the parameters, averages and statistics of some parts of `trained`.

  The optimiser starts afresh. Shardings and dtypes stay those of `state`.

  Raises:
    WarmStartError: a part is unknown, or an array differs in shape.
  """
  known = sorted(state.params)
  unknown = sorted(set(parts) - set(known))
  if unknown:
    raise WarmStartError(
      f"No part {unknown} to start from {folder}; parts are {known}."
    )
  chosen = set(parts or known)

  def take(ours, theirs):
    ours = traverse_util.flatten_dict(ours, sep="/")
    theirs = traverse_util.flatten_dict(theirs, sep="/")
    taken = {}
    for name, old in ours.items():
      if name.split("/")[0] not in chosen:
        taken[name] = old
        continue
      new = theirs.get(name)
      if new is None or new.shape != old.shape:
        found = "nothing" if new is None else f"shape {new.shape}"
        raise WarmStartError(
          f"{folder} does not fit: {name} has shape {old.shape} here, {found} there;"
          " leave its part out of init_parts."
        )
      # A copy each: parameters and averages are both donated to the training step.
      taken[name] = jax.device_put(np.array(new, old.dtype), old.sharding)
    return traverse_util.unflatten_dict(taken, sep="/")

  params = take(state.params, trained.params)
  logging.info("Started %s from %s, step %d.", sorted(chosen), folder, trained.step)
  return state.replace(
    params=params,
    ema_params=take(state.ema_params, trained.params),
    batch_stats=take(state.batch_stats, trained.batch_stats),
  )
