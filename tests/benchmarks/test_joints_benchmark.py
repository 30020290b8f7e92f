"""Errors of joints are those of their motion, in trunks."""

import numpy as np
import pytest

from benchmarks.joints import distances, motion_errors
from dabfusion_jax.ops.joints import JOINTS


def test_another_place_in_the_body_is_no_error_and_another_motion_is():
  true = np.random.default_rng(0).normal(0, 5, (4, len(JOINTS), 2))
  for side, x in (("left", 3.0), ("right", -3.0)):
    true[0, JOINTS.index(f"{side}_shoulder")] = (x, -20.0)
    true[0, JOINTS.index(f"{side}_hip")] = (x, 20.0)  # a trunk of 40
  assert max(distances(true + [3.0, 1.0], true).values()) == pytest.approx(0)
  found = true.copy()
  found[1:, JOINTS.index("left_wrist")] += [0.0, 10.0]  # of one wrist of two
  error = distances(found, true)
  assert error.pop("wrist") == pytest.approx(10 / 40 / 2)
  assert max(error.values()) == pytest.approx(0)


def test_errors_of_motion_are_of_places_steps_and_changes_of_velocity():
  true = np.zeros((5, len(JOINTS), 2))
  for side, x in (("left", 3.0), ("right", -3.0)):
    true[:, JOINTS.index(f"{side}_shoulder")] = (x, -20.0)
    true[:, JOINTS.index(f"{side}_hip")] = (x, 20.0)
  true += np.array([0.0, 1.0, 4.0, 9.0, 16.0])[:, None, None]  # it speeds up
  assert motion_errors(true + 7.0, true) == pytest.approx((0, 0, 1))
  late = np.concatenate([true[:1], true[:-1]])
  places, steps, changes = motion_errors(late, true)
  away = np.sqrt(2) / 40  # of one pixel along both axes
  assert places == pytest.approx(away * np.mean([1, 3, 5, 7]))
  assert steps == pytest.approx(away * np.mean([1, 2, 2, 2]))
  assert changes == pytest.approx(np.mean([1, 2, 2]) / 2)
