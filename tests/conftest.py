"""Simulated devices, strict numerics and shared compilation for every test."""

import os
import shutil
import tempfile

import jax
import pytest
from absl import flags

from data_pipeline.music.numba_cache import compile_librosa

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
# Grain reads absl flags in its workers; under pytest nobody has parsed them.
flags.FLAGS.mark_as_parsed()
compile_librosa()  # before two test processes do it at once


def pytest_configure(config):
  """Lets all processes of this run, programs included, share what they compile."""
  if not hasattr(config, "workerinput"):  # else the parent has done it
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="dabfusion_jax_")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.5"
  jax.config.update(
    "jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"]
  )
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def pytest_unconfigure(config):
  if not hasattr(config, "workerinput"):
    shutil.rmtree(os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)


@pytest.fixture(scope="session")
def quick_init():
  """`quick_init(model, key, *inputs)`: `model.init`, compiled without optimisation.

  Initialisation is all random bits, whose optimised compilation takes eight times as
  long as everything else in a small test.
  """

  def init(model, key, *inputs):
    lowered = jax.jit(model.init).lower(key, *inputs)
    compiled = lowered.compile(compiler_options={"xla_backend_optimization_level": 0})
    return compiled(key, *inputs)

  return init
