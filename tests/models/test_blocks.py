"""The blocks of stage 1 have the numbers of the paper's sources."""

import jax
import jax.numpy as jnp
import numpy as np

from dabfusion_jax.models.blocks import NormRelu


def test_batch_norm_has_an_epsilon_and_a_momentum_as_in_fomm():
  x = 0.01 * np.random.default_rng(0).standard_normal((2, 4, 4, 3), np.float32)
  norm, image = NormRelu(), jnp.asarray(x)
  variables = norm.init(jax.random.key(0), image, True)
  y, updates = norm.apply(variables, image, True, mutable="batch_stats")
  mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))  # 1e-4
  expected = np.maximum((x - mean) / np.sqrt(variance + 1e-5), 0)
  np.testing.assert_allclose(y, expected, atol=1e-4)
  running = updates["batch_stats"]["norm"]
  np.testing.assert_allclose(running["mean"], 0.1 * mean, rtol=1e-4)
  np.testing.assert_allclose(running["var"], 0.9 + 0.1 * variance, rtol=1e-6)
