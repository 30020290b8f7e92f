"""A run's settings beside its checkpoints: WORKDIR/config.json."""

import json
from collections.abc import Mapping
from typing import Any

import jax

from dabfusion_jax.storage import checkpoint_files
from dabfusion_jax.storage.run_folder import RunFolder
from data_pipeline import files
from data_pipeline.errors import UserError

# Settings that may differ when a run is resumed: they change how long it runs, what
# it shows and where, not what is learnt. A mesh changes the order of sums only.
MAY_CHANGE = (
  "num_steps",
  "log_every",
  "picture_every",
  "checkpoint_every",
  "keep_checkpoints",
  "keep_best_checkpoints",
  "mesh",
  "fsdp_min_bytes",
  "init_from",
  "init_parts",
  "stall_seconds",
  "sampling",
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
# Where things lie; what they are is held by hashes.
MAY_MOVE = (
  "data.folder",
  "data.latents",
  "data.autoencoder",
  "data.autoencoder_config",
  "data.cache_in_memory",
)


def check_config(run: RunFolder, config: Mapping[str, Any]) -> list[str]:
  """Refuses to go on with a run that was started with other settings.

  Returns:
    What differs and is allowed to, but changes what is learnt; one string each.

  Raises:
    ValueError: naming the settings that differ, with both values.
  """
  path = run.local / "config.json"
  if checkpoint_files.latest_step(run.path) is None or not path.exists():
    return []
  before = flatten(json.loads(path.read_text()))
  now = flatten(json.loads(json.dumps(config)))
  allowed, refused = [], []
  for name in sorted(before.keys() | now.keys()):
    if before.get(name) == now.get(name) or name in MAY_MOVE:
      continue
    change = (
      f"{name} was {before.get(name, 'absent')!r}, now {now.get(name, 'absent')!r}"
    )
    if name in MAY_CHANGE_LEARNING:
      allowed.append(change)
    elif name.split(".")[0] not in MAY_CHANGE:
      refused.append(change)
  if refused:
    raise UserError(
      f"{run} was trained with other settings: {'; '.join(refused)}. Restore "
      "them, or choose another workdir."
    )
  return allowed


def write_config(run: RunFolder, config: Mapping[str, Any]) -> None:
  """Writes WORKDIR/config.json in one move."""
  if jax.process_index() == 0:
    run.local.mkdir(parents=True, exist_ok=True)
    files.write_json(run.local / "config.json", config, sort_keys=True)
    run.send()


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
  """{"unet": {"dim": 8}} -> {"unet.dim": 8}."""
  flat = {}
  for name, value in config.items():
    if isinstance(value, Mapping):
      flat |= flatten(value, f"{prefix}{name}.")
    else:
      flat[f"{prefix}{name}"] = value
  return flat
