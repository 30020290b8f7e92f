"""Command lines with `--config=FILE.py:VARIANT`, whose settings are flags as well."""

import pathlib
import sys
from typing import Any

import ml_collections
from absl import flags
from ml_collections import config_flags

from dabfusion_jax.settings.config_files import with_found_config
from data_pipeline.errors import UserError


def parse_flags(program: str, argv: list[str]) -> list[str]:
  """Parses a command line; a wrong flag ends the program with one line, status 2.

  Args:
    program: its name, for the line.
    argv: the words of the command line, as `app.run` gives them.

  Returns:
    The words that are no flags.
  """
  try:
    return flags.FLAGS(with_found_config(argv))
  except (AttributeError, KeyError) as error:  # no such setting, or group of settings
    cause = error.args[0]  # a KeyError that names it, and perhaps a similar one
    text = cause.args[0] if isinstance(cause, KeyError) else cause
    line = f"There is no setting {'. '.join(str(text).splitlines())}"
  except (flags.Error, ValueError, TypeError) as error:
    # ml_collections puts the traceback of a config file into the message.
    line = str(error).strip().splitlines()[-1].removeprefix("ValueError: ")
  print(f"{program}: {line}", file=sys.stderr)
  sys.exit(2)


def config_of(
  holder: flags.FlagHolder[ml_collections.ConfigDict],
) -> dict[str, Any]:
  """Returns the config that the command line names and changes.

  Raises:
    UserError: there is no such file.
  """
  name = config_flags.get_config_filename(flags.FLAGS[holder.name])
  file = pathlib.Path(name.partition(":")[0])
  if not file.is_file():
    raise UserError(
      f"{file}: no such config file; those of the package are configs/autoencoder.py"
      " and configs/diffusion.py."
    )
  return holder.value.to_dict()
