"""Simulated devices and strict numerics for every test."""

import jax
from absl import flags

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
# Grain reads absl flags in its workers; under pytest nobody has parsed them.
flags.FLAGS.mark_as_parsed()
