"""Published folders in repositories of the Hugging Face hub, fetched into its cache.

Such a repository is a published folder as it is, with its stage 1 inside:
`config.json`, `model.safetensors` and `autoencoder/`. Nothing else is fetched, and
nothing is executed or unpickled.
"""

import functools
import os
import pathlib
import re

from etils import epath

from data_pipeline.errors import UserError

FILES = ("config.json", "model.safetensors")
PATTERNS = (*FILES, *(f"autoencoder/{name}" for name in FILES))
_LOCAL = ("runs", "data", "results", "dabfusion_jax")  # folders of the documentation
_REPOSITORY = re.compile(r"(?!\.)[\w.-]+/[\w.-]+")


class HubError(UserError):
  """A model that cannot be fetched; one line says why."""


def is_repository(checkpoint: epath.PathLike) -> bool:
  """Returns whether a checkpoint can only be a repository, OWNER/NAME.

  If there is a file or a folder of the name, or even a folder named as the owner, it is
  a path, and so is what begins as the paths of the documentation do: a misspelt path
  must not be asked for on the network.
  """
  name = os.fspath(checkpoint)
  path = pathlib.Path(name)
  if not isinstance(checkpoint, str) or not _REPOSITORY.fullmatch(name):
    return False
  is_path = path.exists() or path.parent.exists() or path.parent.name in _LOCAL
  return not is_path


@functools.cache
def fetch(name: str) -> pathlib.Path:
  """Returns the local folder of a repository, fetched unless it is in the hub's cache.

  Args:
    name: OWNER/NAME.

  Raises:
    HubError: the hub's client is not installed, there is no network and nothing in the
      cache, or no such repository.
  """
  try:
    from huggingface_hub import errors, snapshot_download
  except ImportError:
    raise HubError(
      f"{name}: no such folder; if it is a repository of the Hugging Face hub, run:"
      ' pip install "dabfusion_jax[hub]".'
    ) from None
  try:
    folder = snapshot_download(name, allow_patterns=list(PATTERNS))
  except errors.RepositoryNotFoundError:
    raise HubError(
      f"{name}: no such folder here, and no such repository on the Hugging Face hub, or"
      " a private one that needs a login; check the name."
    ) from None
  except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled):
    raise HubError(
      f"{name}: no such folder here, and the Hugging Face hub cannot be reached;"
      " connect to the network once, or give a folder."
    ) from None
  except (errors.HfHubHTTPError, errors.HFValidationError) as error:
    reason = (str(error).strip().splitlines() or ["no reason given"])[0][:160]
    raise HubError(f"{name}: the Hugging Face hub refuses it ({reason}).") from error
  return pathlib.Path(folder)
