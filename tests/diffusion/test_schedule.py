"""The cosine schedule against published values."""

import numpy as np
import pytest

from dabfusion_jax.diffusion.schedule import cosine_betas, cosine_schedule


@pytest.mark.parametrize(
  ("t", "beta", "alpha_bar"),
  [
    (0, 4.128422482e-5, 0.9999587158),
    (1, 4.614175274e-5, 0.9999125759),
    (100, 5.318991557e-4, 0.9715756818),
    (500, 3.155691442e-3, 0.4922851724),
    (750, 7.579122655e-3, 0.1431786464),
    (990, 0.1899875421, 1.967173801e-4),
    (998, 0.7499993929, 2.428766907e-6),
    (999, 0.9999, 2.428766907e-10),
  ],
)
def test_cosine_schedule_has_the_published_values(t, beta, alpha_bar):
  np.testing.assert_allclose(cosine_betas()[t], beta, rtol=1e-6)
  np.testing.assert_allclose(cosine_schedule().alpha_bar[t], alpha_bar, rtol=1e-6)


def test_exactly_one_beta_is_clipped():
  assert np.sum(cosine_betas() == 0.9999) == 1


def test_noise_shift_multiplies_noise_over_signal_at_every_timestep():
  def ratio(schedule):
    return np.sqrt((1 - schedule.alpha_bar) / schedule.alpha_bar)

  shifted = cosine_schedule(1000, noise_shift=3.0)
  np.testing.assert_allclose(ratio(shifted), 3 * ratio(cosine_schedule()), rtol=1e-5)
