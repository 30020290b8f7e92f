"""Two forms of one operation, chosen by the platform that a program is compiled for."""

import functools
from collections.abc import Callable

import jax


def cpu_form(cpu: Callable) -> Callable[[Callable], Callable]:
  """Returns a decorator that lets `cpu` stand in for a function on CPUs.

  The decorated function is the plain form: it says what is computed, and every other
  platform runs it. `cpu` computes the same to float rounding, arranged for XLA's CPU
  backend. Arrays are positional arguments, Python settings keyword arguments.

  Both forms are traced, and lowering keeps one of them: a program that is lowered for
  TPUs on a machine without any holds no CPU form. The two forms stay accessible as
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
