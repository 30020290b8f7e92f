"""Feet that stand do not tremble, and steps are taken."""

import numpy as np

from dabfusion_jax.people.footing import Footing

FEET = np.array([[40.0, 180.0], [80.0, 180.0]])


def test_a_foot_stands_still_while_its_reading_trembles():
  footing = Footing(3.0, FEET)
  noise = np.random.default_rng(0).uniform(-2, 2, (20, 2, 2))
  for shift in noise:
    np.testing.assert_array_equal(footing.follow(FEET + shift), FEET)


def test_a_step_of_one_foot_is_taken_and_the_other_stays():
  footing = Footing(3.0, FEET)
  step = FEET + [[30.0, 0.0], [0.0, 0.0]]
  np.testing.assert_allclose(footing.follow(step), [[67.0, 180.0], [80.0, 180.0]])
  np.testing.assert_allclose(footing.follow(step), [[67.0, 180.0], [80.0, 180.0]])
