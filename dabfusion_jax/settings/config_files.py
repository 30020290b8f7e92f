"""Config files such as `configs/diffusion.py`: found, and read without a command line.

A wheel carries `configs/` inside the package, so that the commands of the documentation
work in any folder; a file of that name in the current directory comes first.
"""

import importlib
import importlib.resources
import importlib.util
import pathlib
import sys

from dabfusion_jax.settings.stages import Settings, read_settings

_FOLDER = "configs"


def find_config(path: str | pathlib.Path) -> pathlib.Path:
  """Returns the path itself, or else that of the packaged file `configs/NAME.py`."""
  path = pathlib.Path(path)
  packaged = pathlib.Path(str(importlib.resources.files("dabfusion_jax"))) / path
  if path.is_file() or path.parent != pathlib.Path(_FOLDER) or not packaged.is_file():
    return path
  if importlib.util.find_spec(_FOLDER) is None:
    # The files import each other by the name that they have in the source.
    sys.modules[_FOLDER] = importlib.import_module(f"dabfusion_jax.{_FOLDER}")
  return packaged


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
