"""How cost grows with size, as told by the table and the chart."""

import re

from benchmarks.growth import Point, draw, row

POINTS = [
  Point("frames", "decoder", 40, 100.0, 8.0),
  Point("frames", "decoder", 80, 400.0, 16.0),
  Point("batch", "step", 1, None, 5.0),
  Point("batch", "step", 2, None, 5.0),
]


def test_the_exponent_is_that_between_sizes_of_the_same_program():
  rows = [row(*pair) for pair in zip([None, *POINTS], POINTS, strict=False)]
  assert [cells[4] for cells in rows] == ["", "2.00", "", ""]  # of the time
  assert [cells[6] for cells in rows] == ["", "1.00", "", "0.00"]  # of the memory


def test_the_chart_shows_the_cost_of_each_over_that_at_the_smallest_size():
  svg = draw(POINTS)
  assert len(re.findall("<polyline", svg)) == 3  # times and memory; memory alone
  labels = re.findall(r">([^<]+)</text>", svg)
  # The time per frame doubles, so the first panel is drawn from 1 to 2.
  assert labels[:5] == ["decoder, frames", "1", "1.33", "1.67", "2"]
