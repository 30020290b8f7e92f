"""Forms of an operation, chosen by the platform that a program is compiled for.

With the environment variable DABFUSION_FORMS=plain, every operation takes its plain
form on every platform: to find out whether one of the others is to blame for a result.
"""

import functools
import os
from collections.abc import Callable

import jax

_TARGETS: set[str] = set()  # platforms that this machine does not have


def compile_for(platform: str) -> None:
  """Says that programs will be compiled here for a platform that is not.

  Without it they hold plain forms there. Call it before anything is traced.
  """
  _TARGETS.add(platform)


def forms(*, cpu: Callable, tpu: Callable | None = None) -> Callable:
  """Returns a decorator that replaces a function by `cpu` on CPUs, by `tpu` on TPUs.

  The decorated function is the plain form: it defines what is computed and runs on all
  other platforms, and on TPUs unless there is a form for them. The others are equal to
  it up to float rounding and arranged for their platform. Arrays are positional
  arguments, Python values keyword arguments.

  All forms are traced and lowering keeps one of them, so that a program compiled for
  TPUs on a machine without any contains no CPU form. That for TPUs takes long to trace,
  and is left out where there are none (`compile_for`). Forms are also available as
  `.plain`, `.cpu` and `.tpu`.
  """

  def decorate(plain: Callable) -> Callable:
    @functools.wraps(plain)
    def choose(*arrays, **settings):
      if os.environ.get("DABFUSION_FORMS") == "plain":
        return plain(*arrays, **settings)
      named = {"cpu": cpu}
      if tpu and "tpu" in {jax.default_backend(), *_TARGETS}:
        named["tpu"] = tpu
      return jax.lax.platform_dependent(
        *arrays,
        **{name: functools.partial(form, **settings) for name, form in named.items()},
        default=functools.partial(plain, **settings),
      )

    choose.plain, choose.cpu, choose.tpu = plain, cpu, tpu or plain
    return choose

  return decorate
