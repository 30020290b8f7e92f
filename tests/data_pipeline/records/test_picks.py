"""A few of many are chosen evenly."""

import pytest

from data_pipeline.records.picks import even_indices


def test_indices_are_even_and_include_both_ends():
  assert even_indices(40, 5) == [0, 9, 19, 29, 39]


@pytest.mark.parametrize("count", [3, 7, None])
def test_all_are_chosen_if_there_are_not_more(count):
  assert even_indices(3, count) == [0, 1, 2]


def test_one_of_many_is_the_first_and_none_are_chosen_of_none():
  assert even_indices(9, 1) == [0]
  assert even_indices(0, 4) == even_indices(9, 0) == []
