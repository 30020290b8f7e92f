"""Which errors a program's user is meant to read as one line, and which are bugs."""

import contextlib
import dis
import sys
from collections.abc import Iterator

_OURS = ("dabfusion_jax", "data_pipeline", "launch")


@contextlib.contextmanager
def one_line_errors(program: str) -> Iterator[None]:
  """Ends the program with "PROGRAM: message" on an error meant for its user.

  Any other error keeps its traceback: whoever repairs it needs that.
  """
  try:
    yield
  except Exception as error:
    if not is_for_user(error):
      raise
    sys.exit(f"{program}: {error}")


def is_for_user(error: Exception) -> bool:
  """Whether this project raised `error` by a `raise` of its own, or a file failed.

  A ValueError that a library raises, or that Python raises inside our code (such as a
  tuple of the wrong length), has a message that helps no user.
  """
  if isinstance(error, OSError):
    return True
  trace = error.__traceback__
  while trace is not None and trace.tb_next is not None:
    trace = trace.tb_next
  if trace is None or not isinstance(
    error, (ValueError, RuntimeError, ArithmeticError)
  ):
    return False
  frame = trace.tb_frame
  module = frame.f_globals.get("__name__", "").partition(".")[0]
  instruction = dis.opname[frame.f_code.co_code[trace.tb_lasti]]
  return module in (*_OURS, "__main__") and instruction == "RAISE_VARARGS"
