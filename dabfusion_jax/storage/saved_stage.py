"""Trained stages on disk: a run's workdir, or a published folder.

A published folder holds `config.json` and `model.safetensors` (params and running
statistics). A stage-2 folder of either kind carries its frozen stage 1, published, in
`autoencoder/`, so one folder is enough to sample from; several stage-2 folders may
share the one that lies beside them.
"""

import hashlib
import importlib.resources
import json
import pathlib
import shutil
import tempfile
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import safetensors.numpy
from absl import logging
from etils import epath
from flax import traverse_util

from dabfusion_jax.storage import checkpointing
from dabfusion_jax.storage.run_folder import folder_at, is_remote
from data_pipeline.errors import UserError

AUTOENCODER = "autoencoder"
SHIPPED = ("dance_e", "dance_b")  # stage 2 with and without beats
_CONFIG, _MODEL = "config.json", "model.safetensors"


class TrainedError(UserError):
  """A folder does not hold the trained stage that was asked for."""


@dataclass(frozen=True)
class Trained:
  """A stage's settings and weights, and the hash that names them."""

  config: Mapping[str, Any]
  params: Any
  batch_stats: Any
  step: int
  digest: str  # sha256 of all names and values

  @property
  def variables(self) -> dict[str, Any]:
    """As a Linen model takes them."""
    return {"params": self.params, "batch_stats": self.batch_stats}


def digest_of(params: Any, batch_stats: Any) -> str:
  """sha256 over all names, shapes and float32 values, independent of their order."""
  digest = hashlib.sha256()
  for name, value in sorted(_flatten(params, batch_stats).items()):
    digest.update(f"{name}{value.shape}".encode())
    digest.update(value.tobytes())
  return digest.hexdigest()


def load_trained(folder: epath.PathLike, stage: str) -> Trained:
  """Reads a stage ("autoencoder" or "diffusion") from a workdir or published folder.

  Of a workdir it takes the newest checkpoint and the moving average of its weights.
  Either may lie in a bucket.

  Raises:
    TrainedError: no such folder, another stage, or a damaged file.
    CheckpointError: the workdir has no readable checkpoint.
  """
  folder = epath.Path(folder)
  path = folder / _CONFIG
  if not path.is_file():
    raise TrainedError(
      f"{folder} holds no trained {stage}: {path} is missing; give the workdir of a"
      " training or a published folder."
    )
  try:
    config = json.loads(path.read_text())
    found = config["stage"]
  except (ValueError, KeyError, TypeError) as error:
    raise TrainedError(f"{path} is not the config of a run ({error!r}).") from None
  if found != stage:
    raise TrainedError(f"{folder} holds the stage {found!r}, but {stage!r} is needed.")
  needed = {"autoencoder": {"model", "data"}, "diffusion": {"latents", "data"}}[stage]
  if not needed <= set(config):
    raise TrainedError(f"{path} is cut short: {sorted(needed - set(config))} missing.")
  if (folder / _MODEL).is_file():
    params, batch_stats, step, expected = _read_model(folder / _MODEL)
  else:
    params, batch_stats, step = checkpointing.load_params(folder)
    expected = None
  digest = digest_of(params, batch_stats)
  if expected not in (None, digest):
    raise TrainedError(
      f"{folder / _MODEL} is damaged: its values have the hash {digest[:12]}, not"
      f" {expected[:12]}; get the file anew."
    )
  if step < config.get("num_steps", 0) / 2:
    logging.warning(
      "%s was trained %d of %d steps: expect little of it.",
      folder,
      step,
      config["num_steps"],
    )
  return Trained(config, params, batch_stats, step, digest)


def load_autoencoder_of(folder: epath.PathLike) -> Trained:
  """The frozen stage 1 inside a stage-2 folder, else the one beside it.

  Raises:
    TrainedError, CheckpointError: as `load_trained`. Whether it is the right one, the
      hash in the stage 2's config tells.
  """
  folder = folder_at(folder)
  beside = folder.parent / AUTOENCODER
  inside = folder / AUTOENCODER
  is_shared = not inside.is_dir() and beside.is_dir()
  return load_trained(beside if is_shared else inside, "autoencoder")


def shipped(name: str = SHIPPED[0]) -> pathlib.Path:
  """The folder of a stage 2 that comes with the package, one of `SHIPPED`.

  Raises:
    TrainedError: unknown name, or a package that came without weights.
  """
  if name not in SHIPPED:
    raise TrainedError(f"No weights {name!r} come with the package; known: {SHIPPED}.")
  folder = pathlib.Path(str(importlib.resources.files("dabfusion_jax")))
  folder = folder / "demo_weights" / name
  if not (folder / _MODEL).is_file():
    raise TrainedError(
      f"This copy of dabfusion_jax came without weights ({folder} holds none); install"
      " it anew, or name a trained model with --checkpoint."
    )
  return folder


def publish(trained: Trained, folder: str | pathlib.Path, dtype: Any = None) -> None:
  """Writes a published folder in one move; `dtype` float16 halves its size.

  An existing folder with the same weights is left alone; other weights are refused
  with a `TrainedError`.
  """
  folder = pathlib.Path(folder)
  if folder.exists():
    if load_trained(folder, trained.config["stage"]).digest == trained.digest:
      return
    raise TrainedError(
      f"{folder} holds other weights (not those of digest {trained.digest[:12]});"
      " choose another folder."
    )
  temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.tmp")
  shutil.rmtree(temporary, ignore_errors=True)
  temporary.mkdir(parents=True)
  try:
    (temporary / _CONFIG).write_text(
      json.dumps(trained.config, indent=2, sort_keys=True) + "\n"
    )
    flat = _flatten(trained.params, trained.batch_stats)
    if dtype is not None:
      flat = {name: value.astype(dtype) for name, value in flat.items()}
    metadata = {"step": str(trained.step), "digest": trained.digest}
    safetensors.numpy.save_file(flat, temporary / _MODEL, metadata)
    # Made for its owner alone, but given away.
    (temporary / _MODEL).chmod((temporary / _CONFIG).stat().st_mode)
    temporary.replace(folder)
  except BaseException:
    shutil.rmtree(temporary, ignore_errors=True)
    raise


def _flatten(params: Any, batch_stats: Any) -> dict[str, np.ndarray]:
  tree = {"params": params, "batch_stats": batch_stats}
  flat = traverse_util.flatten_dict(tree, sep="/")
  return {
    name: np.ascontiguousarray(jax.device_get(value), np.float32)
    for name, value in flat.items()
  }


def _read_model(path: epath.Path) -> tuple[Any, Any, int, str]:
  """(params, batch_stats, step, the digest they were written with)."""
  if is_remote(path):  # the reader maps files of a disk
    with tempfile.TemporaryDirectory() as here:
      return _read_model(path.copy(pathlib.Path(here) / _MODEL))
  try:
    with safetensors.safe_open(path, "numpy") as file:
      metadata = file.metadata()
      step, digest = int(metadata["step"]), metadata["digest"]
      flat = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
  except (
    safetensors.SafetensorError,
    OSError,
    KeyError,
    TypeError,
    ValueError,
  ) as error:
    raise TrainedError(f"{path} is damaged ({error}); get the file anew.") from None
  if not any(name.startswith("params/") for name in flat):
    raise TrainedError(f"{path} holds no params; it is no published stage.")
  flat = {name: value.astype(np.float32) for name, value in flat.items()}
  tree = traverse_util.unflatten_dict(flat, sep="/")
  return tree["params"], tree.get("batch_stats", {}), step, digest
