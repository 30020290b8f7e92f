"""Config files such as `configs/diffusion.py`, read without the command line."""

import importlib.util
import pathlib

from dabfusion_jax.settings.stages import Settings, read_settings


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
