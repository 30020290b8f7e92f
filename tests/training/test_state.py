"""The moving average of the parameters."""

import jax.numpy as jnp
import numpy as np
import pytest

from dabfusion_jax.training.state import update_ema


@pytest.mark.parametrize(
  ("step", "decay"), [(0, 0.1), (8, 0.5), (890, 0.99), (10_000, 0.999)]
)
def test_decay_of_the_average_warms_up_to_its_limit(step, decay):
  ema = update_ema({"w": jnp.ones(())}, {"w": jnp.zeros(())}, 0.999, jnp.int32(step))
  np.testing.assert_allclose(ema["w"], decay, rtol=1e-5)


def test_average_of_a_short_run_forgets_the_initial_parameters():
  """After 20 steps the start weighs under 1e-6; with decay 0.999 alone, 0.98."""
  ema = {"w": jnp.ones(())}
  for step in range(20):
    ema = update_ema(ema, {"w": jnp.zeros(())}, 0.999, step)
  assert float(ema["w"]) < 1e-6


def test_average_is_float32_whatever_the_parameters_are():
  ema = update_ema({"w": jnp.zeros(2)}, {"w": jnp.ones(2, jnp.bfloat16)}, 0.9, 0)
  assert ema["w"].dtype == jnp.float32
