"""Ends a program in one line if it is interrupted, whatever it does at that moment."""

import contextlib
import os
import pathlib
import signal
import sys
import threading
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130  # exit status of a program stopped by Ctrl-C, as in a shell
_COMMAND = "dabfusion"  # that runs every program by its name
_stopped = threading.Event()


def end_quietly() -> None:
  """Lets Ctrl-C end a program at once, until `take_back`.

  Imports take seconds and write nothing. A library or a notebook keeps its own handler.
  """
  first = sys.argv[0] if sys.argv else ""
  # "-m" while Python looks for the program.
  is_program = first == "-m" or pathlib.Path(first).stem == _COMMAND
  is_main = threading.current_thread() is threading.main_thread()
  if is_program and is_main and _handler() is signal.default_int_handler:
    signal.signal(signal.SIGINT, _end)


def take_back() -> None:
  """Lets Ctrl-C raise KeyboardInterrupt again if `end_quietly` has changed that."""
  if _handler() is _end:
    signal.signal(signal.SIGINT, _raise)


def end_on_sigterm() -> None:
  """Lets SIGTERM do what Ctrl-C does in a program.

  Of one that a script runs in the background, SIGINT is ignored.
  """
  if _handler() in (_raise, signal.SIG_IGN):
    signal.signal(signal.SIGTERM, _raise)


def check() -> None:
  """Raises KeyboardInterrupt if the program was interrupted.

  Python drops what a signal raises inside a callback of its garbage collector. So work
  that can be stopped asks here too.
  """
  if _stopped.is_set():
    raise KeyboardInterrupt


def leave() -> NoReturn:
  """Ends an interrupted program, in a library by SystemExit.

  A program does not wait for its threads: one that compiles would abort the process.
  """
  if _raise in (_handler(), signal.getsignal(signal.SIGTERM)):
    for stream in (sys.stdout, sys.stderr):
      with contextlib.suppress(OSError):  # such as a closed pipe
        stream.flush()
    os._exit(INTERRUPTED)
  sys.exit(INTERRUPTED)


def _handler() -> object:
  return signal.getsignal(signal.SIGINT)


def _end(number: int, frame: FrameType | None) -> None:
  os.write(2, b"interrupted\n")
  os._exit(INTERRUPTED)


def _raise(number: int, frame: FrameType | None) -> None:
  _stopped.set()
  raise KeyboardInterrupt
