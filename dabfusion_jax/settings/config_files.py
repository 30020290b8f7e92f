"""Config files such as `configs/diffusion.py`: found, and read without a command line.

A wheel carries `configs/` inside the package, a clone beside it: the commands of the
documentation work in any folder. A file of that name in the current one comes first.
"""

import importlib
import importlib.resources
import importlib.util
import pathlib
import sys
from collections.abc import Sequence

from dabfusion_jax.settings.stages import Settings, read_settings

_FOLDER = "configs"


def find_config(path: str | pathlib.Path) -> pathlib.Path:
  """Returns the path itself if it exists, or else that of our own `configs/NAME.py`.

  What is neither is returned as it is.
  """
  path = pathlib.Path(path)
  package = pathlib.Path(str(importlib.resources.files("dabfusion_jax")))
  ours = [folder / path for folder in (package, package.parent)]
  found = [file for file in ours if file.is_file()]
  if path.is_file() or path.parent != pathlib.Path(_FOLDER) or not found:
    return path
  if importlib.util.find_spec(_FOLDER) is None:
    # The files import each other by the name that they have in the source.
    sys.modules[_FOLDER] = importlib.import_module(f"dabfusion_jax.{_FOLDER}")
  return found[0]


def with_found_config(words: Sequence[str]) -> list[str]:
  """Returns a command line in which --config=FILE, or --config FILE, is the file to
  read."""
  found = list(words)
  for i, word in enumerate(words):
    flag, equals, value = word.partition("=")
    if flag not in ("--config", "-config") or not (equals or i + 1 < len(words)):
      continue
    file, colon, variant = (value if equals else words[i + 1]).partition(":")
    named = f"{find_config(file)}{colon}{variant}"
    if equals:
      found[i] = f"{flag}={named}"
    else:
      found[i + 1] = named
  return found


def load_config(path: str | pathlib.Path, variant: str) -> Settings:
  """Returns the settings of a config file's variant.

  Raises:
    ValueError: the file knows no such variant.
    OSError: no such file.
  """
  spec = importlib.util.spec_from_file_location("config_file", path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return read_settings(module.get_config(variant).to_dict(), strict=True)
