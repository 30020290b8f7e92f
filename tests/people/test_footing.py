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
  # Never more than the reach behind; then a fifth of the way is left per frame.
  for x in (67.0, 69.4):
    np.testing.assert_allclose(footing.follow(step), [[x, 180.0], [80.0, 180.0]])


def test_a_foot_stands_again_where_it_has_arrived():
  footing = Footing(3.0, FEET)
  step = FEET + [[30.0, -8.0], [0.0, 0.0]]
  for _ in range(4):
    arrived = footing.follow(step)
  assert np.hypot(*(arrived - step)[0]) < 1.0
  noise = np.random.default_rng(0).uniform(-1.4, 1.4, (20, 2, 2))
  for shift in noise:
    np.testing.assert_array_equal(footing.follow(step + shift), arrived)


def test_a_foot_on_the_move_does_not_stay_behind():
  footing = Footing(3.0, FEET)
  way = [FEET + [[2.0 * t, 0.0], [0.0, 0.0]] for t in range(20)]
  behind = [(read - footing.follow(read))[0, 0] for read in way]
  assert max(behind[6:]) < 1.0


def test_frames_between_generated_ones_take_as_long():
  step = FEET + [[6.0, 0.0], [5.0, 0.0]]
  slow, quick = Footing(1.0, FEET, times=3), Footing(1.0, FEET)
  slow.follow(step), quick.follow(step)  # a reach behind
  behind = [(step - slow.follow(step))[0, 0] for _ in range(3)]
  np.testing.assert_allclose(behind, 0.2 ** (np.arange(1, 4) / 3))
  np.testing.assert_allclose(slow.feet, quick.follow(step))
