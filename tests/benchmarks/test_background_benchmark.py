"""What is filled in and compared lies beside the person, where the picture is known."""

import numpy as np

from benchmarks import background


def test_holes_lie_beside_the_person_to_the_left_and_to_the_right():
  person = np.zeros((60, 100), bool)
  person[20:50, 40:60] = True
  left, right = background.moved_holes(person)
  for hole, first in ((left, 13), (right, 67)):
    assert not (hole & person).any()
    columns = np.flatnonzero(hole.any(0))
    assert (columns[0], len(columns)) == (first, 20)
    np.testing.assert_array_equal(hole.any(1), person.any(1))


def test_a_hole_that_meets_the_person_ends_there():
  person = np.zeros((60, 100), bool)
  person[20:50, 30:70] = True
  left, right = background.moved_holes(person)
  assert left.any(0).nonzero()[0][-1] == 29
  assert right.any(0).nonzero()[0][0] == 70


def test_both_ways_fill_the_hole_and_nothing_else():
  picture = np.full((60, 80, 3), 120, np.uint8)
  hole = np.zeros((60, 80), bool)
  hole[20:40, 30:50] = True
  spoiled = np.where(hole[..., None], 0, picture).astype(np.uint8)
  for fill in background.WAYS.values():
    np.testing.assert_array_equal(fill(spoiled, hole), picture)
