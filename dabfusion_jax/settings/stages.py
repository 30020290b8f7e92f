"""Settings of whichever stage a config file or a run's config.json is of."""

from collections.abc import Mapping
from typing import Any

from dabfusion_jax.settings.autoencoder import AutoencoderSettings
from dabfusion_jax.settings.checks import check_choice
from dabfusion_jax.settings.diffusion import DiffusionSettings
from dabfusion_jax.settings.mapping import from_mapping
from data_pipeline.errors import UserError

Settings = AutoencoderSettings | DiffusionSettings
_TYPES = {"autoencoder": AutoencoderSettings, "diffusion": DiffusionSettings}


def read_settings(mapping: Mapping[str, Any], *, strict: bool) -> Settings:
  """Returns the typed settings of a mapping, whose key `stage` says which they are.

  Args:
    mapping: nested, as `configs/*.py` and config.json hold it.
    strict: see `settings.mapping.from_mapping`; also refuses `init_parts` of nothing.

  Raises:
    UserError: an unknown stage, or a key that is unknown, missing or of another type.
  """
  stage = mapping.get("stage")
  check_choice("stage", stage, tuple(_TYPES))
  settings = from_mapping(_TYPES[stage], mapping, strict=strict)
  if strict and settings.init_parts and not settings.init_from:
    raise UserError("init_parts are parts of init_from; set that too.")
  return settings
