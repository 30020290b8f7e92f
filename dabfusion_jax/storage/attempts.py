"""Tries to read checkpoints, any of which may be damaged, and keeps failures quiet."""

import gc
import logging
import sys
import time
from collections.abc import Callable
from typing import Any


def attempt(load: Callable[..., Any], *args) -> tuple[Any, str | None]:
  """Returns (`load(*args)`, None), or (None, one line that says why not).

  If one array cannot be read, orbax abandons the reads of all others, and each prints a
  page once it is garbage-collected. That would bury the line that matters, so they are
  collected here, silently.
  """
  hook, asyncio_log = sys.unraisablehook, logging.getLogger("asyncio")
  sys.unraisablehook, asyncio_log.disabled = lambda unused: None, True
  try:
    try:
      return load(*args), None
    except Exception as error:  # orbax raises whatever its storage raised
      failure = first_line(error)
    time.sleep(0.5)  # for unfinished reads to end
    gc.collect()
    return None, failure
  finally:
    sys.unraisablehook, asyncio_log.disabled = hook, False


def first_line(error: BaseException) -> str:
  """Returns the name of an error and the first line of its text."""
  lines = str(error).strip().splitlines() or ["no message"]
  return f"{type(error).__name__}: {lines[0][:160]}"
