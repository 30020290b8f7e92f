"""Keeps compiled programs on disk, so that a later process does not compile them again.

JAX reads and writes the folder (its persistent compilation cache). What is read from it
runs as code, so the default folder is private to its user; one that is named is left as
it is, and nothing is removed from it.
"""

import hashlib
import os
import pathlib
import platform

import jax
from absl import logging
from etils import epath

from data_pipeline import files

MAX_BYTES = 2**30  # of what is kept; the oldest goes first
# What XLA gives to the library YNNPACK: its own choice but for convolutions.
_WITHOUT_CONVOLUTIONS = ",".join(
  f"LIBRARY_FUSION_TYPE_{name}" for name in ("DOT", "REDUCE", "INDIVIDUAL_DOT")
)


def keep_compiled(folder: epath.PathLike | None = None) -> None:
  """Keeps what this process compiles; call it before anything is compiled.

  A folder that the user has chosen (JAX_COMPILATION_CACHE_DIR) stands, and
  JAX_ENABLE_COMPILATION_CACHE=false keeps nothing. A folder that cannot be written is
  told in one line, and the program compiles as without it; so is an entry that cannot
  be read.

  Args:
    folder: where, also an address; None: `default_folder`.
  """
  config = jax.config
  if config.jax_compilation_cache_dir or not config.jax_enable_compilation_cache:
    return
  if folder is None:
    try:
      folder = default_folder()
      files.make_private(folder)
      files.remove_oldest(folder, MAX_BYTES)
    except (OSError, RuntimeError) as error:  # RuntimeError: a user without a home
      logging.warning(
        "Compiled programs are not kept (%s); name a folder for them with %s.",
        error,
        files.VARIABLE,
      )
      return
  config.update("jax_compilation_cache_dir", os.fspath(folder))
  # Small programs too: there are many, and reading one takes a tenth of compiling it.
  config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def options_for_inference(
  device: jax.Device, *, samples: bool = False
) -> dict[str, int | bool | str] | None:
  """Returns options of XLA for programs that do not train.

  On a CPU, a sampling step takes two thirds of the time to compile and runs as fast:
  its work is done by XLA's own kernels. Training steps are slower with them. If
  XLA_FLAGS names one of them, it stands, and so do XLA's own values of the others.

  Args:
    device: that runs the program.
    samples: whether it is a sampling step. In jax 0.10, its convolutions of 64 channels
      run on one core by XLA's choice, and on all of them by Eigen. Decoding, whose
      convolutions are wider, would be slower so.
  """
  options: dict[str, int | bool | str] = {"xla_backend_optimization_level": 1}
  if jax.__version_info__ < (0, 11):  # later ones know no other emitters
    options["xla_cpu_use_fusion_emitters"] = False
    if samples:
      options["xla_cpu_experimental_ynn_fusion_type"] = _WITHOUT_CONVOLUTIONS
  chosen = os.environ.get("XLA_FLAGS", "")
  if device.platform != "cpu" or any(name in chosen for name in options):
    return None
  return options


def default_folder() -> pathlib.Path:
  """Returns this user's folder for programs of this kind of processor.

  On CPU, programs use whatever the processor has, which another one that shares the
  home may lack.
  """
  return files.cache_folder() / "compiled" / _processor()


def _processor() -> str:
  """Returns a name that differs between processors of different features."""
  features = platform.processor()
  try:
    text = pathlib.Path("/proc/cpuinfo").read_text()
  except OSError:  # not Linux
    text = ""
  named = ("model name", "flags", "CPU part", "Features")
  first = text.partition("\n\n")[0].splitlines()
  lines = [line for line in first if line.startswith(named)]
  key = "\n".join([platform.machine(), features, *lines])
  return f"{platform.machine()}_{hashlib.sha256(key.encode()).hexdigest()[:12]}"
