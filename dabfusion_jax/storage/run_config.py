"""The settings of a run beside its checkpoints: WORKDIR/config.json."""

import dataclasses
from typing import TypeVar

import jax
from absl import logging

from dabfusion_jax.settings.loop import LoopSettings
from dabfusion_jax.settings.mapping import flatten, from_mapping, to_mapping
from dabfusion_jax.storage import checkpoint_files
from dabfusion_jax.storage.run_folder import RunFolder
from data_pipeline import files
from data_pipeline.errors import UserError

T = TypeVar("T", bound=LoopSettings)

# Settings that say where a run began; a resume keeps them (`keep_origin`).
ORIGIN = ("init_from", "init_parts", "history")
# Settings that may differ when a run is resumed: they change how long it runs, what
# it shows and where, not what is learnt. A mesh changes the order of sums only.
MAY_CHANGE = (
  "num_steps",
  "log_every",
  "picture_every",
  "eval_every",
  "eval_batches",
  "checkpoint_every",
  "keep_checkpoints",
  "keep_best_checkpoints",
  "mesh",
  "fsdp_min_bytes",
  *ORIGIN,
  "stall_seconds",
  "sampling",
  "picture",
)
# Settings that may differ as well, because another machine, a bad step or a longer
# training asks for it, but change what is learnt: with a warning.
MAY_CHANGE_LEARNING = (
  "gradient_accumulation",  # BatchNorm's statistics and the noise are those of a part
  "max_skipped_steps",
  "spike_grad_norm",
  "optimizer.learning_rate",
  "optimizer.milestones",
  "optimizer.warmup_steps",
)
# Paths, and how files are read; hashes identify the contents.
MAY_MOVE = (
  "data.folder",
  "data.build",
  "data.latents",
  "data.autoencoder",
  "data.cache_in_memory",
  "data.reading_processes",
)
# Hashes of the data, which say that it has changed.
_DATA = ("data.content_sha256", "latents.data")
# What a model card says of the data, which hashes identify.
ONLY_WORDS = ("data.source", "data.num_clips", "latents.source", "latents.num_clips")
# Noted by newer versions only: None is not another value.
MAY_BE_UNKNOWN = ("latents.true_motion", "latents.mirrored")


def read_config(run: RunFolder, settings_type: type[T]) -> T | None:
  """Returns the settings a run was started with; None if it was never started.

  Raises:
    UserError: config.json is damaged, or of another stage than `settings_type`.
  """
  path = run.local / "config.json"
  if not path.exists():
    return None
  mapping = files.read_json(path)
  try:
    return from_mapping(settings_type, mapping, strict=False)
  except ValueError as error:
    raise UserError(f"{path} cannot be read: {error}") from None


def check_config(run: RunFolder, settings: LoopSettings) -> list[str]:
  """Refuses to resume a run that was started with other settings.

  Returns:
    What differs and is allowed to, but changes what is learnt; one string each.

  Raises:
    UserError: naming the settings that differ, with both values; or there are none to
      compare with.
  """
  _check_stage(run, settings.stage)
  started = read_config(run, type(settings))
  if checkpoint_files.latest_step(run.path) is None:
    return []
  if started is None:
    raise UserError(
      f"{run} has checkpoints but no config.json, which says of what they are; put it"
      " back, or choose another workdir."
    )
  before, now = (flatten(to_mapping(one)) for one in (started, settings))
  allowed, refused = [], {}
  for name in sorted(before.keys() | now.keys()):
    if before.get(name) == now.get(name) or name in (*MAY_MOVE, *ONLY_WORDS):
      continue
    if name in MAY_BE_UNKNOWN and before.get(name) is None:
      continue
    change = (
      f"{name} was {before.get(name, 'absent')!r}, now {now.get(name, 'absent')!r}"
    )
    if name in MAY_CHANGE_LEARNING:
      allowed.append(change)
    elif name.split(".")[0] not in MAY_CHANGE:
      refused[name] = change
  if refused:
    kind, advice = "with other settings", "Restore them, or choose another workdir."
    if refused.keys() <= {*_DATA}:
      kind = "on other data"
      advice = (
        "Name the folder of before, or, if it has changed since, start from this run in"
        f" another workdir: --config.init_from={run}."
      )
    changes = "; ".join(refused.values())
    raise UserError(f"{run} was trained {kind}: {changes}. {advice}")
  return allowed


def keep_origin(run: RunFolder, settings: T) -> T:
  """Returns the settings of a resume: where the run began stays as it was noted."""
  started = read_config(run, type(settings))
  for name in ("init_from", "init_parts"):
    if getattr(settings, name) != getattr(started, name):
      logging.warning("%s has begun: %s changes nothing now.", run, name)
  origin = {name: getattr(started, name) for name in ORIGIN}
  return dataclasses.replace(settings, **origin)


def _check_stage(run: RunFolder, stage: str) -> None:
  """Refuses a run of another stage, whose settings would only be called unknown."""
  path = run.local / "config.json"
  found = files.read_json(path).get("stage") if path.exists() else None
  if found not in (None, stage):
    raise UserError(
      f"{run} holds a run of the stage {found}, not {stage}; choose another workdir."
    )


def write_config(run: RunFolder, settings: LoopSettings) -> None:
  """Writes WORKDIR/config.json, whole or not at all; only process 0 writes."""
  if jax.process_index() == 0:
    run.local.mkdir(parents=True, exist_ok=True)
    files.write_json(run.local / "config.json", to_mapping(settings), sort_keys=True)
    run.send()
