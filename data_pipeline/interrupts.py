"""Ends a program in one line if Ctrl-C comes while it still imports its packages."""

import os
import signal
import sys
import threading
from types import FrameType

INTERRUPTED = 130  # exit status of a program stopped by Ctrl-C, as in a shell


def end_quietly() -> None:
  """Lets Ctrl-C end `python -m PROGRAM` at once, until `take_back`.

  Imports take seconds and write nothing. A library or a notebook keeps its own handler.
  """
  is_program = sys.argv[:1] == ["-m"]  # while Python looks for the program
  is_main = threading.current_thread() is threading.main_thread()
  if is_program and is_main and _handler() is signal.default_int_handler:
    signal.signal(signal.SIGINT, _end)


def take_back() -> None:
  """Lets Ctrl-C raise KeyboardInterrupt again if `end_quietly` has changed that."""
  if _handler() is _end:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _handler() -> object:
  return signal.getsignal(signal.SIGINT)


def _end(number: int, frame: FrameType | None) -> None:
  os.write(2, b"interrupted\n")
  os._exit(INTERRUPTED)
