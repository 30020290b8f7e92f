"""Provides parsers, argument types and one-line errors for all programs."""

import argparse
import contextlib
import logging
import math
import sys
from collections.abc import Iterator

from data_pipeline.errors import UserError

INTERRUPTED = 130  # exit status of a program stopped by Ctrl-C, as in a shell


def make_parser(module: str, description: str | None) -> argparse.ArgumentParser:
  """Returns a parser for `python -m MODULE`.

  Args:
    module: its dotted name.
    description: shown by --help as it is; the docstring of the program.
  """
  return argparse.ArgumentParser(
    prog=f"python -m {module}",
    description=description,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )


@contextlib.contextmanager
def one_line_errors(program: str) -> Iterator[None]:
  """Ends the program with "PROGRAM: message", status 1, on a `UserError` or `OSError`.

  Ctrl-C ends the program with status 130. Any other exception is a bug and keeps its
  traceback.
  """
  try:
    yield
  except (UserError, OSError) as error:
    logging.getLogger(__name__).debug("traceback:", exc_info=True)
    message = " ".join(str(error).split("\n"))
    sys.exit(f"{program}: {message}")
  except KeyboardInterrupt:
    print(f"{program}: interrupted", file=sys.stderr)
    sys.exit(INTERRUPTED)


def positive_int(text: str) -> int:
  """Parses an integer of at least 1, as a `type` of argparse."""
  return _at_least(1, int(text))


def positive_float(text: str) -> float:
  """Parses a finite number above 0, as a `type` of argparse."""
  value = float(text)
  if not (value > 0 and math.isfinite(value)):
    raise argparse.ArgumentTypeError(f"must be above 0, not {text}")
  return value


def natural_int(text: str) -> int:
  """Parses an integer of at least 0, as a `type` of argparse."""
  return _at_least(0, int(text))


def _at_least(least: int, value: int) -> int:
  if value < least:
    raise argparse.ArgumentTypeError(f"must be at least {least}, not {value}")
  return value
