"""Distances of joints in a part of a picture are those in the whole one."""

import dancers
import numpy as np
import pytest

from benchmarks import upper_body
from dabfusion_jax.people import landmarks as lm
from dabfusion_jax.people.segmenter import Person


def test_a_part_begins_where_it_is_said_and_ends_below_the_shoulders():
  picture, mask = dancers.draw()
  person = Person(mask.astype(np.float32), dancers.landmarks(), 0)
  part, origin = upper_body.cut(picture, person, 0.65)
  left, top = origin.astype(int)
  rows, columns = part.shape[:2]
  np.testing.assert_array_equal(part, picture[top : top + rows, left : left + columns])
  shoulders = dancers.joints()[lm.LEFT_SHOULDER, 1]
  assert top < 30 and shoulders < top + rows < dancers.joints()[lm.LEFT_HIP, 1]


def test_distances_are_in_trunks():
  true = dancers.joints()
  assert upper_body.distances(true, true) == [0.0] * len(upper_body.SHOWN)
  unit = true[lm.LEFT_HIP, 1] - true[lm.LEFT_SHOULDER, 1]
  moved = upper_body.distances(true + [unit, 0.0], true)
  assert moved == pytest.approx([1.0] * len(upper_body.SHOWN), rel=1e-6)


def test_a_table_hides_what_is_below_a_height():
  picture, mask = dancers.draw()
  person = Person(mask.astype(np.float32), dancers.landmarks(), 0)
  made = upper_body.behind_table(picture, person, 0.65)
  same = (made == picture).all((1, 2))
  top = int(same.argmin())
  assert same[:top].all() and not same[top:].any()
  shoulders, hips = (dancers.joints()[x, 1] for x in (lm.LEFT_SHOULDER, lm.LEFT_HIP))
  assert (
    shoulders < top < hips and len(np.unique(made[top:].reshape(-1, 3), axis=0)) == 2
  )
