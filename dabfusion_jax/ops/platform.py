"""Forms of an operation, chosen by the platform that a program is compiled for.

With the environment variable DABFUSION_FORMS=plain, every operation takes its plain
form on every platform: to find out whether one of the others is to blame for a result.
"""

import contextvars
import functools
import os
from collections.abc import Callable

import jax

_TARGETS: set[str] = set()  # platforms that this machine does not have
_ONLY_HERE = contextvars.ContextVar("only_here", default=False)


def compile_for(platform: str) -> None:
  """Says that programs will be compiled here for "tpu" or "cuda", which is not here.

  Without it they hold plain forms there. Call it before anything is traced.
  """
  _TARGETS.add(platform)


def only_here(function: Callable) -> Callable:
  """Returns a function whose programs are traced for this machine alone.

  On a machine with CPUs alone, no other form is traced, which is a seventh of the
  tracing before a dance. Such programs are not to be lowered for other platforms,
  and what a `jax.jit` inside of `function` has traced is kept for all.
  """

  @functools.wraps(function)
  def traced(*args, **kwargs):
    token = _ONLY_HERE.set(True)
    try:
      return function(*args, **kwargs)
    finally:
      _ONLY_HERE.reset(token)

  return traced


def _platforms() -> set[str]:
  """Returns the platforms that programs may be compiled for, beside CPUs.

  The backend of every vendor's GPUs is called "gpu", and is "cuda" to lowering if they
  are NVIDIA's; on others the form for "cuda" is dropped there.
  """
  backend = jax.default_backend()
  return {"cuda" if backend == "gpu" else backend, *_TARGETS}


def forms(
  *, cpu: Callable, tpu: Callable | None = None, cuda: Callable | None = None
) -> Callable:
  """Returns a decorator that replaces a function by the form of a platform.

  The decorated function is the plain form: it defines what is computed and runs on all
  platforms that have no form. The others are equal to it up to float rounding and
  arranged for CPUs, TPUs and GPUs of NVIDIA. Arrays are positional arguments, Python
  values keyword arguments.

  Forms are traced and lowering keeps one of them, so that a program compiled for TPUs
  on a machine without any contains no CPU form. Those for TPUs and GPUs take long to
  trace, and are left out where there are none (`compile_for`). Forms are also available
  as `.plain`, `.cpu`, `.tpu` and `.cuda`.
  """
  others = {name: form for name, form in (("tpu", tpu), ("cuda", cuda)) if form}

  def decorate(plain: Callable) -> Callable:
    @functools.wraps(plain)
    def choose(*arrays, **settings):
      if os.environ.get("DABFUSION_FORMS") == "plain":
        return plain(*arrays, **settings)
      here = _platforms()
      if _ONLY_HERE.get() and here == {"cpu"}:
        return cpu(*arrays, **settings)
      named = {"cpu": cpu}
      named |= {name: form for name, form in others.items() if name in here}
      return jax.lax.platform_dependent(
        *arrays,
        **{name: functools.partial(form, **settings) for name, form in named.items()},
        default=functools.partial(plain, **settings),
      )

    choose.plain, choose.cpu = plain, cpu
    choose.tpu, choose.cuda = tpu or plain, cuda or plain
    return choose

  return decorate
