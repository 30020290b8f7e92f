"""Reads the beats of a song from what editors and annotators write.

A file is read by its content, whatever its name: a time per line, alone or before a
label (Audacity, Sonic Visualiser, madmom); a table with a header, of which the column
of times is taken; or JSON, a list or an object with `beats`. Times are in seconds from
the song's start, or `minutes:seconds`, and may have a decimal comma.
"""

import csv
import json
import math
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from data_pipeline.errors import UserError

# Columns that hold times, in the order of preference.
COLUMNS = ("time", "times", "seconds", "beat_time", "beat_times", "start", "onset")
COLUMNS += ("position", "beats", "beat")
_UNITS = ("_s", "_sec", "_seconds", "(s)", "[s]", "(sec)", "(seconds)")
_DELIMITERS = "\t;,"
_DECIMAL_COMMA = re.compile(r"\d+,\d+")
_IN_SPACES = re.compile(r"(\d+:)?\d+,\d+\s+[^,]*")  # `0,5 1`
_COUNTS = ("position", "beats", "beat")  # columns that may count beats instead


class BeatsError(UserError):
  """Beats that cannot be read; one line says where and what to do."""


def read(path: str | pathlib.Path) -> Float64[np.ndarray, "n"]:
  """Returns the beat times in a file, in seconds, ascending.

  Empty lines, and lines that begin with # or with a backslash (Audacity's frequencies),
  are ignored.

  Raises:
    BeatsError: there is no such file, no beats in it, or something other than beats.
  """
  try:
    # With the mark that some editors put in front.
    text = pathlib.Path(path).read_text(encoding="utf-8-sig")
  except FileNotFoundError:
    raise BeatsError(f"{path}: no such file; check the path.") from None
  except OSError as error:
    raise BeatsError(f"{path} cannot be read: {error.strerror}.") from error
  except UnicodeDecodeError:
    raise BeatsError(
      f"{path} is not a text file; write one beat per line, in seconds from the song's"
      " start."
    ) from None
  if text.lstrip()[:1] in ("[", "{"):
    return _read_json(path, text)
  lines = [
    (number, line)
    for number, line in enumerate(text.splitlines(), 1)
    if line.strip() and line.lstrip()[0] not in "#\\"
  ]
  if not lines:
    raise BeatsError(f"{path}: there are no beats in it; write one beat per line.")
  delimiter = next((mark for mark in _DELIMITERS if mark in lines[0][1]), None)
  if delimiter == "," and all(_IN_SPACES.fullmatch(line.strip()) for _, line in lines):
    delimiter = None  # spaces separate the columns
  column = _column(_cells(lines[0][1], delimiter))
  header = None if column is None else _plain(_cells(lines[0][1], delimiter)[column])
  if column is None:
    column = 0
  else:
    lines = lines[1:]
  rows = [_cells(line, delimiter) for _, line in lines]
  times = []
  for (number, _), cells in zip(lines, rows, strict=True):
    cell = cells[column] if column < len(cells) else ""
    times.append(seconds_of(cell))
    if times[-1] is None:
      raise BeatsError(f"{path}, line {number}: {cell[:20]!r} is no number of seconds.")
  if not times:
    raise BeatsError(f"{path}: there are no beats below its header.")
  if column == 0 and all(_DECIMAL_COMMA.fullmatch(line.strip()) for _, line in lines):
    # Beats that share a second are no column of whole seconds, and what has two digits
    # or more is hardly the place of a beat in its bar.
    if len(set(times)) < len(times) or any(len("".join(x[1:])) > 1 for x in rows):
      raise BeatsError(
        f"{path}: 0,5 is read as two columns, 0 and 5; write its times as 0.5."
      )
  if _counts_beats(rows, column, header):
    raise BeatsError(
      f"{path}: its column {column + 1} seems to count beats; name the column of"
      " seconds `time` in a first line, or leave only that one."
    )
  return np.unique(np.asarray(times, np.float64))


def _counts_beats(
  rows: Sequence[Sequence[str]], column: int, header: str | None
) -> bool:
  """Returns whether a column holds numbers of beats, and another one their times."""
  times = [seconds_of(row[column]) for row in rows]
  others = [seconds_of(x) for row in rows for x in row[:column] + row[column + 1 :]]
  if not others or any(time != int(time) for time in times):
    return False
  is_count = len(times) > 2 and times[0] in (0, 1) and set(np.diff(times)) == {1}
  are_finer = any(x is not None and x != int(x) for x in others)
  return header in _COUNTS or (header is None and is_count and are_finer)


def check_times(times: object) -> Float64[np.ndarray, "n"]:
  """Returns beat times, in seconds from the song's start, ascending.

  Raises:
    BeatsError: they are no list of finite numbers. An empty one is: of no beats.
  """
  try:
    array = np.asarray(times, np.float64)
  except (TypeError, ValueError):
    array = np.asarray(math.nan)
  if array.ndim != 1 or not np.isfinite(array).all():
    raise BeatsError(
      "Beats are a list of finite numbers, in seconds from the song's start; leave them"
      " out to have them tracked."
    )
  return np.unique(array)


def seconds_of(text: str) -> float | None:
  """Returns `12.5`, `12,5` or `0:12.5` in seconds, or None if it is none of them."""
  minutes, _, seconds = text.strip().replace(",", ".").rpartition(":")
  try:
    value = float(seconds) + 60 * float(minutes or 0)
  except ValueError:
    return None
  return value if math.isfinite(value) else None


def _cells(line: str, delimiter: str | None) -> list[str]:
  if delimiter is None:
    return line.split() or [""]
  return next(csv.reader([line.strip()], delimiter=delimiter, skipinitialspace=True))


def _column(cells: Sequence[str]) -> int | None:
  """Returns the column of times if these cells are a header, else None."""
  names = [_plain(cell) for cell in cells]
  return next((names.index(name) for name in COLUMNS if name in names), None)


def _plain(name: str) -> str:
  """Returns the name of a column in lower case, without its unit."""
  name = name.strip().lower()
  for unit in _UNITS:
    name = name.removesuffix(unit)
  return name.strip().replace(" ", "_")


def _read_json(path: str | pathlib.Path, text: str) -> Float64[np.ndarray, "n"]:
  try:
    content: Any = json.loads(text)
    return check_times(content["beats"] if isinstance(content, dict) else content)
  except (ValueError, KeyError, RecursionError):
    raise BeatsError(
      f"{path} is JSON, but not of beats; write a list of seconds, or an object with"
      ' such a list as "beats".'
    ) from None
