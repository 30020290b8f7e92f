"""Simulated devices and strict numerics for every test."""

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
