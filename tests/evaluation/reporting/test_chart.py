"""Charts: histograms with marks, and curves with error bands."""

import xml.etree.ElementTree as tree

from dabfusion_jax.evaluation.reporting import chart
from dabfusion_jax.evaluation.scoring.aggregate import Estimate


def test_a_histogram_marks_what_its_values_are_compared_with():
  svg = chart.histogram("2D-MM Align", [0.1, 0.1, 0.9], {"chance": 0.22, "real": 0.5})
  assert svg.count("<rect") == 2 and svg.count("<line") == 2
  assert "chance 0.220" in svg and "real 0.500" in svg
  assert "<svg" in chart.histogram("one value", [0.5], {})


def test_curves_are_drawn_from_left_to_right_in_well_formed_svg():
  panel = {
    method: [(n, Estimate(level / n, 0.01, 4, 4)) for n in (50, 5, 10)]
    for method, level in (("ddim", 2.0), ("a<b", 1.0))
  }
  single = {"ddim": [(5, Estimate(1.0, None, 1, 1))]}
  root = tree.fromstring(chart.curves("few steps", {"FVD": panel, "one": single}))
  lines = [e for e in root.iter() if e.tag.endswith("polyline")]
  assert len(lines) == 3
  places = [float(p.split(",")[0]) for p in lines[0].get("points").split()]
  assert places == sorted(places)
  # The values fall with the number of steps, and pixels count from the top.
  heights = [float(p.split(",")[1]) for p in lines[0].get("points").split()]
  assert heights == sorted(heights)
