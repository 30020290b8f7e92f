"""Two forms of an operation, chosen by the platform that a program is compiled for."""

import functools
from collections.abc import Callable

import jax


def cpu_form(cpu: Callable) -> Callable[[Callable], Callable]:
  """Returns a decorator that replaces a function by `cpu` on CPUs.

  The decorated function is the plain form: it defines what is computed and runs on all
  other platforms. `cpu` is equal to it up to float rounding and arranged for XLA's CPU
  backend. Arrays are positional arguments, Python values keyword arguments.

  Both forms are traced and lowering keeps one of them, so that a program compiled for
  TPUs on a machine without any contains no CPU form. The two are also available as
  `.plain` and `.cpu`.
  """

  def decorate(plain: Callable) -> Callable:
    @functools.wraps(plain)
    def choose(*arrays, **settings):
      return jax.lax.platform_dependent(
        *arrays,
        cpu=functools.partial(cpu, **settings),
        default=functools.partial(plain, **settings),
      )

    choose.plain, choose.cpu = plain, cpu
    return choose

  return decorate
