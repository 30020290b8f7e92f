"""A background is what films show far from people; errors are in percent."""

import dancers
import numpy as np
import pytest

from benchmarks import shadows
from dabfusion_jax.people.segmenter import Person


def test_a_background_is_known_where_enough_frames_show_it():
  frames = np.full((5, 60, 300, 3), 100, np.uint8)
  holes = np.zeros((5, 60, 300), bool)
  for t, x in enumerate((20, 30, 200, 210, 220)):
    holes[t, :, x : x + 10] = True
    frames[t, :, x : x + 10] = 0
  truth, known = shadows.true_background(frames, holes)
  assert known[:, :60].all() and not known[:, 190:240].any()
  assert (truth[known] == 100).all()


def test_errors_are_percent_of_brightness():
  picture, truth = np.full((4, 4, 3), 98, np.uint8), np.full((4, 4, 3), 100.0)
  somewhere = np.eye(4, dtype=bool)
  assert shadows.error_in(picture, truth, somewhere) == pytest.approx(2.0, abs=0.01)
  assert np.isnan(shadows.error_in(picture, truth, ~(somewhere | True)))


def test_without_its_shadow_a_background_is_nearer_to_the_truth():
  picture, mask = dancers.draw_with_shadow()
  truth = np.tile(dancers.WALL, (*mask.shape, 1)).astype(float)
  person = Person(mask.astype(np.float32), dancers.landmarks(), 0)
  errors = shadows.measure(picture, person, truth, np.ones_like(mask))
  for place in ("beside", "behind"):
    before = errors[f"{place}, as it is"]
    assert before > 3 and errors[f"{place}, without the shadow"] < before / 2
