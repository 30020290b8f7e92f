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
  """Says that programs will be compiled here for "tpu" or "cuda", which is not here.

  On any other platform, such as "rocm", programs hold the plain forms. Without it they
  hold the forms of the platforms of this machine, which are slower there. Call it
  before anything is traced.
  """
  _TARGETS.add(platform)


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

  A form that takes long to trace is left out where there is no such platform. On a
  machine with CPUs alone, which compiles for no other (`compile_for`), nothing but the
  form for CPUs is traced; elsewhere all that may be needed are, and lowering keeps one.
  Forms are also available as `.plain`, `.cpu`, `.tpu` and `.cuda`.
  """
  others = {name: form for name, form in (("tpu", tpu), ("cuda", cuda)) if form}

  def decorate(plain: Callable) -> Callable:
    @functools.wraps(plain)
    def choose(*arrays, **settings):
      if os.environ.get("DABFUSION_FORMS") == "plain":
        return plain(*arrays, **settings)
      here = _platforms()
      if here == {"cpu"}:
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
