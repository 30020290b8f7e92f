"""The learning-rate schedule and Adam."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dabfusion_jax.settings.loop import OptimizerSettings
from dabfusion_jax.training.optimizer import make_optimizer, make_schedule
from data_pipeline.errors import UserError

SETTINGS = OptimizerSettings(
  learning_rate=2e-4,
  b1=0.5,
  b2=0.999,
  milestones=(),
  warmup_steps=0,
  clip_norm=None,
)


def settings_with(**changes):
  return dataclasses.replace(SETTINGS, **changes)


def test_rate_falls_to_a_tenth_from_each_milestone_on():
  rate = make_schedule(settings_with(milestones=(10, 20)))
  steps = [0, 9, 10, 19, 20, 1000]
  np.testing.assert_allclose(
    [rate(step) for step in steps], [2e-4, 2e-4, 2e-5, 2e-5, 2e-6, 2e-6], rtol=1e-5
  )


def test_warm_up_rises_linearly_to_the_full_rate():
  rate = make_schedule(
    settings_with(learning_rate=1.0, milestones=(8,), warmup_steps=4)
  )
  np.testing.assert_allclose(
    [rate(step) for step in (0, 1, 3, 4, 8)], [0.25, 0.5, 1, 1, 0.1]
  )


def test_updates_are_adams():
  """Against the formulas of Kingma & Ba 2015, algorithm 1, written out."""
  optimizer = make_optimizer(SETTINGS)
  gradients = [np.array([0.3, -2.0]), np.array([-0.1, 1.0])]
  params = jnp.zeros(2)
  state = optimizer.tx.init(params)
  m = v = 0.0
  for t, g in enumerate(gradients, start=1):
    updates, state = optimizer.tx.update(
      jnp.float32(g), state, params, learning_rate=optimizer.learning_rate(t)
    )
    m, v = 0.5 * m + 0.5 * g, 0.999 * v + 0.001 * g**2
    m_hat, v_hat = m / (1 - 0.5**t), v / (1 - 0.999**t)
    np.testing.assert_allclose(
      updates, -2e-4 * m_hat / (np.sqrt(v_hat) + 1e-8), rtol=1e-4
    )


def test_an_update_takes_the_rate_that_it_is_given():
  optimizer = make_optimizer(settings_with(b1=0.0, b2=0.0))
  state = optimizer.tx.init(jnp.zeros(1))
  for rate in (0.5, 0.25):
    updates, state = optimizer.tx.update(jnp.ones(1), state, learning_rate=rate)
    np.testing.assert_allclose(-updates[0], rate, rtol=1e-5)


def test_the_state_of_the_optimizer_is_that_of_adam_with_a_schedule():
  """So that checkpoints with the rate in their step can be resumed."""
  schedule = optax.piecewise_constant_schedule(1e-3, {2: 0.1})
  earlier = optax.chain(optax.scale_by_adam(), optax.scale_by_learning_rate(schedule))
  state = make_optimizer(SETTINGS).tx.init(jnp.zeros(3))
  assert jax.tree.structure(state) == jax.tree.structure(earlier.init(jnp.zeros(3)))


def test_clipping_bounds_the_gradients_norm():
  optimizer = make_optimizer(settings_with(clip_norm=1.0, b1=0.0, b2=0.0))
  tx = optax.clip_by_global_norm(1.0)
  gradient = jnp.array([3.0, 4.0])
  clipped, _ = tx.update(gradient, tx.init(gradient))
  state = optimizer.tx.init(gradient)
  _, state = optimizer.tx.update(gradient, state, learning_rate=1.0)
  np.testing.assert_allclose(state[1].mu, clipped, rtol=1e-6)
  np.testing.assert_allclose(jnp.linalg.norm(state[1].mu), 1.0, rtol=1e-6)


@pytest.mark.parametrize(
  ("name", "value"),
  [
    ("learning_rate", 0.0),
    ("b2", 1.0),
    ("milestones", (20, 10)),
    ("milestones", (0,)),
    ("warmup_steps", -1),
    ("clip_norm", 0.0),
  ],
)
def test_values_out_of_range_are_refused(name, value):
  with pytest.raises(UserError, match=name):
    settings_with(**{name: value})
