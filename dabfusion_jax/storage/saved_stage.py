"""Trained stages on disk: the workdir of a run, or a published folder.

A published folder holds `config.json` and `model.safetensors` (params and running
statistics). A stage-2 folder of either kind carries its frozen stage 1, published, in
`autoencoder/`, so that one folder is enough to sample from; several stage-2 folders may
share one that lies beside them.
"""

import contextlib
import dataclasses
import importlib.resources
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import flax.errors
import numpy as np
import safetensors.numpy
from absl import logging
from etils import epath
from flax import traverse_util

from dabfusion_jax.settings.mapping import to_mapping
from dabfusion_jax.settings.stages import Settings, read_settings
from dabfusion_jax.storage import hub, rounding
from dabfusion_jax.storage.checkpoint_files import FOLDER
from dabfusion_jax.storage.model_file import (
  MODEL,
  SavedStageError,
  digest_of,
  flatten,
  read_model,
)
from dabfusion_jax.storage.run_folder import folder_at
from data_pipeline import files
from data_pipeline.errors import UserError

PyTree = Any
AUTOENCODER = "autoencoder"
# Stages 2 that come with the package: of figures, with and without beats; of people.
PEOPLE = "people_e"
SHIPPED = ("dance_e", "dance_b", PEOPLE)
CONFIG = "config.json"
_BUNDLED = "demo_weights"


@dataclass(frozen=True)
class SavedStage:
  """Settings and weights of a trained stage, and the hash that names them."""

  settings: Settings
  params: PyTree
  batch_stats: PyTree
  step: int
  digest: str  # `digest_of`

  @property
  def variables(self) -> dict[str, PyTree]:
    """The weights as a Linen model takes them."""
    return {"params": self.params, "batch_stats": self.batch_stats}


def locate(checkpoint: epath.PathLike) -> tuple[epath.Path, int | None]:
  """Returns the folder of a checkpoint, and its step if that is named.

  A checkpoint is named by its workdir or published folder, by the `model.safetensors`
  in that, by one of the steps in WORKDIR/checkpoints, by a name in `SHIPPED`, or by a
  repository of the hub.

  Raises:
    HubError: a repository that cannot be fetched.
  """
  if hub.is_repository(checkpoint):
    return epath.Path(hub.fetch(os.fspath(checkpoint))), None
  path = epath.Path(checkpoint)
  if os.fspath(checkpoint) in SHIPPED and not path.exists():
    return epath.Path(shipped(os.fspath(checkpoint))), None
  if path.name == MODEL:
    return path.parent, None
  if path.name == FOLDER:
    return path.parent, None
  if path.parent.name == FOLDER and path.name.isdigit():
    return path.parent.parent, int(path.name)
  return path, None


def load_stage(checkpoint: epath.PathLike, stage: str) -> SavedStage:
  """Reads a stage ("autoencoder" or "diffusion") from a workdir or published folder.

  From a workdir it takes the newest checkpoint, unless a step is named (`locate`), and
  the moving average of its weights. Either may lie in a bucket.

  Raises:
    SavedStageError: no such folder, another stage, a damaged file, or weights that
      are not finite.
    CheckpointError: the workdir has no readable checkpoint.
  """
  folder, wanted_step = locate(checkpoint)
  settings = _load_settings(folder / CONFIG, stage)
  if (folder / MODEL).is_file():
    params, batch_stats, step, expected = read_model(folder / MODEL)
  else:
    # Imported here because it brings orbax, which a published model does not need.
    from dabfusion_jax.storage import checkpointing

    params, batch_stats, step = checkpointing.load_params(folder, step=wanted_step)
    expected = None
  digest = digest_of(params, batch_stats)
  if expected not in (None, digest):
    raise SavedStageError(
      f"{folder / MODEL} is damaged: its values have the hash {digest[:12]}, not"
      f" {expected[:12]}; get the file again."
    )
  for name, value in flatten(params, batch_stats).items():
    if not np.isfinite(value).all():
      raise SavedStageError(
        f"{folder} holds NaN or infinity in {name}: its training has diverged; use an"
        " earlier step."
      )
  if step < settings.num_steps / 2:
    logging.warning(
      "%s was trained for %d of %d steps: expect little of it.",
      folder,
      step,
      settings.num_steps,
    )
  return SavedStage(settings, params, batch_stats, step, digest)


def load_autoencoder_of(checkpoint: epath.PathLike) -> SavedStage:
  """Returns the frozen stage 1 inside a stage-2 folder, else the one beside it.

  Args:
    checkpoint: of stage 2 (`locate`).

  Raises:
    SavedStageError, CheckpointError: as `load_stage`. Whether it is the right one, the
      hash in the settings of stage 2 tells.
  """
  folder = folder_at(locate(checkpoint)[0])
  beside = folder.parent / AUTOENCODER
  inside = folder / AUTOENCODER
  is_shared = not inside.is_dir() and beside.is_dir()
  return load_stage(beside if is_shared else inside, "autoencoder")


def load_both_stages(checkpoint: epath.PathLike) -> tuple[SavedStage, SavedStage]:
  """Returns a stage 2 and the stage 1 that it was trained with.

  Raises:
    SavedStageError, CheckpointError: as `load_stage`, or the stage 1 is another one.
  """
  diffusion = load_stage(checkpoint, "diffusion")
  stage1 = load_autoencoder_of(checkpoint)
  expected = diffusion.settings.latents.autoencoder
  if stage1.digest != expected:
    raise SavedStageError(
      f"The stage 1 in {checkpoint} has the hash {stage1.digest[:12]}, but stage 2 was"
      f" trained with {expected[:12]}; restore the right one."
    )
  return diffusion, stage1


def shipped(name: str = SHIPPED[0]) -> pathlib.Path:
  """Returns the folder of a stage 2 bundled with the package, one of `SHIPPED`.

  Raises:
    SavedStageError: unknown name, or a package that was built without weights.
  """
  if name not in SHIPPED:
    raise SavedStageError(f"No bundled weights {name!r}; known: {', '.join(SHIPPED)}.")
  folder = pathlib.Path(str(importlib.resources.files("dabfusion_jax")))
  folder = folder / _BUNDLED / name
  if not (folder / MODEL).is_file():
    raise SavedStageError(
      f"This copy of dabfusion_jax was built without weights ({folder} holds none);"
      " install it again, or name a trained model with --checkpoint."
    )
  return folder


def name_of(checkpoint: epath.PathLike) -> str:
  """Returns a checkpoint as it is named, of bundled weights without their folder."""
  path = pathlib.Path(checkpoint)
  is_bundled = path.name in SHIPPED and path.parent.name == _BUNDLED
  return path.name if is_bundled else os.fspath(checkpoint)


def round_weights(saved: SavedStage, dtype: str) -> SavedStage:
  """Returns a stage as it is read again from fewer bits, under a digest of its own.

  Args:
    saved: the stage.
    dtype: one of `rounding.DTYPES`.

  Raises:
    SavedStageError: a value beyond the range of float16.
  """
  try:
    packed = rounding.pack(flatten(saved.params, saved.batch_stats), dtype)
  except ValueError as error:
    raise SavedStageError(f"A weight cannot be rounded: {error}.") from None
  tree = traverse_util.unflatten_dict(rounding.unpack(packed), sep="/")
  params, batch_stats = tree["params"], tree.get("batch_stats", {})
  digest = digest_of(params, batch_stats)
  return dataclasses.replace(
    saved, params=params, batch_stats=batch_stats, digest=digest
  )


def save_stage(
  saved: SavedStage, folder: str | pathlib.Path, dtype: str = rounding.FLOAT32
) -> None:
  """Writes a published folder, whole or not at all.

  A folder that holds the same weights already, of whatever type, is left alone.

  Args:
    saved: rounded (`round_weights`), if `dtype` is not float32.
    folder: to make.
    dtype: one of `rounding.DTYPES`.

  Raises:
    SavedStageError: the folder holds something else.
  """
  folder = pathlib.Path(folder).resolve()
  if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
    try:
      digest = load_stage(folder, saved.settings.stage).digest
    except SavedStageError as error:
      raise SavedStageError(
        f"{folder} holds something else ({error}); choose another folder."
      ) from None
    if digest == saved.digest:
      return
    raise SavedStageError(
      f"{folder} holds other weights (not those of digest {saved.digest[:12]}); choose"
      " another folder."
    )
  flat = rounding.pack(flatten(saved.params, saved.batch_stats), dtype)
  with files.full_disk_names(folder):
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = pathlib.Path(tempfile.mkdtemp(prefix=".", dir=folder.parent))
  try:
    temporary.chmod(0o755)  # temporary folders are private
    metadata = {"step": str(saved.step), "digest": saved.digest}
    with files.full_disk_names(folder):
      files.write_json(temporary / CONFIG, to_mapping(saved.settings), sort_keys=True)
      with files.whole_file(temporary / MODEL) as file:
        safetensors.numpy.save_file(flat, file, metadata)
    temporary.replace(folder)
  finally:
    shutil.rmtree(temporary, ignore_errors=True)


def _load_settings(path: epath.Path, stage: str) -> Settings:
  if not path.is_file():
    cure = "give the workdir of a training or a published folder"
    if stage == "diffusion":
      cure += f", or the name of bundled weights: {', '.join(SHIPPED)}"
    raise SavedStageError(
      f"{path.parent} holds no trained {stage}: {path} is missing; {cure}."
    )
  try:
    mapping = json.loads(path.read_text())
    found = mapping["stage"]
  except (ValueError, KeyError, TypeError, RecursionError) as error:
    raise SavedStageError(f"{path} is not the config of a run ({error!r}).") from None
  if found != stage:
    raise SavedStageError(
      f"{path.parent} holds the stage {found!r}, but {stage!r} is needed."
    )
  try:
    settings = read_settings(mapping, strict=False)
  except UserError as error:
    raise SavedStageError(f"{path}: {error}") from None
  if stage == "diffusion" and settings.latents is None:
    raise SavedStageError(f"{path} says nothing of its latents: no training wrote it.")
  return settings


@contextlib.contextmanager
def weights_that_fit() -> Iterator[None]:
  """Turns the error of a network about its parameters into one line."""
  try:
    yield
  except flax.errors.FlaxError as error:
    reason = str(error).strip().splitlines()[0].partition(" (https:")[0][:160]
    raise SavedStageError(
      f"The weights do not fit the config.json beside them ({reason}); get the folder"
      " again."
    ) from error
