"""Provides parsers, argument types and one-line errors for all programs."""

import argparse
import contextlib
import logging
import math
import os
import pathlib
import re
import sys
from collections.abc import Callable, Collection, Iterator
from typing import NoReturn

from data_pipeline import files
from data_pipeline.errors import UserError
from data_pipeline.interrupts import leave, take_back

_CURE = "; free space and run the same command again"  # of a full disk
_MAX_PORT = 65_535
_HOUR = 3600  # seconds
MAX_SEED = 2**32 - 1
_SHOWN = 40  # characters of a wrong argument that are repeated
_CLOCK = re.compile(r"(\d{1,4}):([0-5]\d(?:\.\d+)?)")  # minutes and seconds
_STORE = re.compile(  # what epath says
  r"\binstall (gcsfs|s3fs|adlfs|huggingface_hub|fsspec)\b", re.IGNORECASE
)


class _Parser(argparse.ArgumentParser):
  """A parser that says what is wrong alone, without the usage of all arguments."""

  def error(self, message: str) -> NoReturn:
    self.exit(2, f"{self.prog}: error: {message} (see --help)\n")


def make_parser(module: str, description: str | None) -> argparse.ArgumentParser:
  """Returns a parser for `python -m MODULE`.

  Args:
    module: its dotted name.
    description: shown by --help as it is; the docstring of the program.
  """
  return _Parser(
    prog=f"python -m {module}",
    description=description,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )


@contextlib.contextmanager
def one_line_errors(program: str) -> Iterator[None]:
  """Ends the program with "PROGRAM: message", status 1, on an error of the user.

  These are `UserError`, `OSError`, a lack of memory, an address of no store or whose
  package is missing, and whatever a library raises on a full disk. Ctrl-C ends the
  program with status 130; the text of the interrupt, if it has any, says what was kept.
  Any other exception is a bug and keeps its traceback.
  """
  take_back()
  try:
    yield
  except Exception as error:
    is_store = isinstance(error, ImportError) and _STORE.search(str(error))
    is_expected = isinstance(error, UserError | OSError | MemoryError)
    is_expected |= _is_wrong_address(error)
    if not (is_store or is_expected or files.is_disk_full(error)):
      raise
    logging.getLogger(__name__).debug("traceback:", exc_info=True)
    sys.exit(f"{program}: {one_line(error)}")
  except KeyboardInterrupt as interrupt:
    kept = f"; {interrupt}" if str(interrupt) else ""
    print(f"{program}: interrupted{kept}", file=sys.stderr)
    leave()


def _is_wrong_address(error: BaseException) -> bool:
  return isinstance(error, KeyError) and str(error).endswith("://'")  # of epath


def one_line(error: BaseException) -> str:
  """Returns what went wrong, in one line."""
  if isinstance(error, OSError) and error.filename and error.strerror:
    cure = _CURE if files.is_disk_full(error) else ""
    return f"{os.fsdecode(error.filename)}: {error.strerror}{cure}."
  text = " ".join(str(error).split())
  if files.is_disk_full(error) and not isinstance(error, UserError):
    return f"a disk is full ({text[:160]}){_CURE}."
  if isinstance(error, MemoryError):
    return f"out of memory ({text or 'no more is said'}); give it smaller inputs."
  if _is_wrong_address(error):
    return f"{text} begins no address known here; name a folder or gs:// address."
  if isinstance(error, ImportError):
    return f'{text}; for gs:// addresses: pip install "dabfusion_jax[gcs]".'
  return text


def path(text: str) -> str:
  """Returns a path with `~` expanded, as a `type` of argparse; shells do not always.

  It may also be an address, such as `gs://bucket/folder`. An empty one, as of a shell
  variable that is not set, would be the current folder, and is refused.
  """
  if not text.strip():
    raise argparse.ArgumentTypeError("is empty; name a file or folder")
  return os.path.expanduser(text)


def paths(text: str) -> tuple[str, ...]:
  """Parses paths separated by commas, as a `type` of argparse."""
  return tuple(map(path, comma_separated()(text)))


def local_path(text: str) -> pathlib.Path:
  """Returns a path on this machine with `~` expanded, as a `type` of argparse."""
  try:
    return files.local_path(path(text))
  except UserError as error:
    raise argparse.ArgumentTypeError(str(error)) from None


def whole_number(text: str) -> int:
  """Parses an integer, as a `type` of argparse."""
  try:
    return int(text)
  except ValueError:
    raise _not(text, "a whole number, such as 3") from None


def number(text: str) -> float:
  """Parses a number, as a `type` of argparse."""
  try:
    return float(text)
  except ValueError:
    raise _not(text, "a number, such as 12.5") from None


def seconds(text: str) -> float:
  """Parses seconds, or minutes and seconds as `1:30`, as a `type` of argparse."""
  if clock := _CLOCK.fullmatch(text):
    return 60 * int(clock[1]) + float(clock[2])
  try:
    return float(text)
  except ValueError:
    raise _not(text, "seconds or m:ss, such as 12.5 or 1:30") from None


def positive_int(text: str) -> int:
  """Parses an integer of at least 1, as a `type` of argparse."""
  return at_least(1)(text)


def positive_float(text: str) -> float:
  """Parses a finite number above 0, as a `type` of argparse."""
  value = number(text)
  if not (value > 0 and math.isfinite(value)):
    raise _not(text, "finite and above 0" if value > 0 else "above 0")
  return value


def natural_int(text: str) -> int:
  """Parses an integer of at least 0, as a `type` of argparse."""
  return at_least(0)(text)


def at_least(least: int, most: int | None = None) -> Callable[[str], int]:
  """Returns a `type` of argparse that parses an integer from `least` to `most`."""

  def integer(text: str) -> int:
    value = whole_number(text)
    if value < least:
      raise _not(text, f"at least {least}")
    if most is not None and value > most:
      raise _not(text, f"at most {most}")
    return value

  return integer


def finite(text: str) -> float:
  """Parses a finite number, as a `type` of argparse."""
  value = number(text)
  if not math.isfinite(value):
    raise _not(text, "a finite number")
  return value


def delay(text: str) -> float:
  """Parses seconds of at most an hour, late or early, as a `type` of argparse."""
  value = finite(text)
  if abs(value) > _HOUR:
    raise _not(text, f"from -{_HOUR} to {_HOUR} seconds")
  return value


def seed(text: str) -> int:
  """Parses a seed of random numbers, as a `type` of argparse."""
  value = whole_number(text)
  if not 0 <= value <= MAX_SEED:
    raise _not(text, f"from 0 to {MAX_SEED}")
  return value


def port(text: str) -> int:
  """Parses the number of a port to listen at, as a `type` of argparse."""
  value = whole_number(text)
  if not 1 <= value <= _MAX_PORT:
    raise _not(text, f"from 1 to {_MAX_PORT}")
  return value


def comma_separated(
  choices: Collection[str] = (),
) -> Callable[[str], tuple[str, ...]]:
  """Returns a `type` of argparse that parses names separated by commas.

  Args:
    choices: the names that are known; any name is if there are none.
  """

  def parse(text: str) -> tuple[str, ...]:
    names = tuple(name for name in text.split(",") if name)
    unknown = [name for name in names if choices and name not in choices]
    if unknown or not names:
      known = f"; known: {', '.join(choices)}" if choices else ""
      raise argparse.ArgumentTypeError(f"unknown name {','.join(unknown)!r}{known}")
    return names

  return parse


def _not(text: str, wanted: str) -> argparse.ArgumentTypeError:
  return argparse.ArgumentTypeError(f"must be {wanted}, not {text[:_SHOWN]}")
