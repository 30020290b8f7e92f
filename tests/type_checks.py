"""Type checks of a function's first calls: to check all takes a fifth of the suite."""

import functools
import sys

from beartype import beartype

CALLS = 100


def check(fn):
  """Returns `fn` checked by beartype, for its first calls in a process.

  jaxtyping passes an empty function with the signature and name of the one it checks.
  For each check it also binds the arguments, which takes as long, unless the function
  says that it wants none.
  """
  calls, checked = 0, None

  @functools.wraps(fn)
  def counted(*args, **kwargs):
    nonlocal calls, checked
    calls += 1
    checked = checked or beartype(fn)  # half of all functions are never called
    if calls > CALLS and (real := _named(fn)):
      real.__no_type_check__ = True
    return checked(*args, **kwargs)

  return counted


def _named(fn):
  """Returns the function that has the module and name of `fn`; None if it is local."""
  found = sys.modules[fn.__module__]
  for name in fn.__qualname__.split("."):
    found = vars(found).get(name)
    if found is None:
      return None
  return getattr(found, "fget", found)  # of a property, its function
