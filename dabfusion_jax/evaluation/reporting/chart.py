"""Draws charts as SVG: histograms with marks, and curves with error bands."""

import html
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from dabfusion_jax.evaluation.scoring.aggregate import Estimate

COLOURS = ("#4a7fb5", "#c0392b", "#2a8f4f", "#c08000", "#7b3fa0", "#555")
_PANEL_WIDTH, _PANEL_HEIGHT = 330, 210  # pixels, of one panel of curves

Number = float | int | np.number
Curve = Sequence[tuple[int, Estimate]]  # (abscissa, value)


def histogram(
  title: str, values: Sequence[float], marks: Mapping[str, float], num_bins: int = 20
) -> str:
  """Draws counts of values, with named vertical lines to compare them with.

  Args:
    title: for screen readers.
    values: at least one.
    marks: values by name.
    num_bins: over the range of values and marks, which includes 0 and 1.
  """
  everything = [*values, *marks.values(), 0.0, 1.0]
  low, high = min(everything), max(everything)
  counts, edges = np.histogram(values, bins=num_bins, range=(low, high))
  width, left, top, bottom = 560, 34, 20 + 14 * len(marks), 210 + 14 * len(marks)
  x = _scale(low, high, left, width - 10)
  y = _scale(0, max(1, counts.max()), bottom, top)
  shapes = [
    f'<rect x="{x(a):.1f}" y="{y(n):.1f}" width="{x(b) - x(a) - 1:.1f}"'
    f' height="{bottom - y(n):.1f}" fill="{COLOURS[0]}"/>'
    for n, a, b in zip(counts, edges[:-1], edges[1:], strict=True)
    if n
  ]
  labels = []  # drawn last, above all lines
  for i, (name, value) in enumerate(marks.items()):
    colour, place, height = COLOURS[1 + i % 5], x(value), 14 * (i + 1)
    shapes.append(_line(place, height, place, bottom, colour, 2))
    is_right = place > width * 0.6
    anchor, shift = ("end", -4) if is_right else ("start", 4)
    labels.append(_text(place + shift, height, f"{name} {value:.3f}", anchor))
  for value in np.linspace(low, high, 6):
    labels.append(_text(x(value), bottom + 14, f"{value:.2g}", "middle"))
  labels.append(_text(0, top + 9, str(counts.max())))
  return _svg(width, bottom + 20, title, shapes + labels)


def curves(title: str, panels: Mapping[str, Mapping[str, Curve]]) -> str:
  """Draws panels side by side in rows of two, over a logarithmic abscissa.

  Bands are one standard error to either side.

  Args:
    title: for screen readers.
    panels: curves by name, by title of the panel.
  """
  names = sorted({name for panel in panels.values() for name in panel})
  colours = dict(zip(names, COLOURS * len(names), strict=False))
  shapes = ['<rect width="100%" height="100%" fill="white"/>']
  for index, (panel_title, panel) in enumerate(panels.items()):
    x, y = index % 2 * _PANEL_WIDTH, index // 2 * _PANEL_HEIGHT
    inside = "".join(_panel(panel_title, panel, colours))
    shapes.append(f'<g transform="translate({x} {y})">{inside}</g>')
  height = (len(panels) + 1) // 2 * _PANEL_HEIGHT
  for i, name in enumerate(names):
    place = 52 + 105 * i
    shapes.append(
      f'<rect x="{place}" y="{height + 5}" width="12" height="12"'
      f' fill="{colours[name]}"/>'
    )
    shapes.append(_text(place + 16, height + 15, name))
  return _svg(2 * _PANEL_WIDTH, height + 24, title, shapes)


def _panel(
  title: str, curves_of_panel: Mapping[str, Curve], colours: Mapping[str, str]
) -> list[str]:
  left, right, top, bottom = 52, _PANEL_WIDTH - 14, 26, _PANEL_HEIGHT - 34
  points = [point for curve in curves_of_panel.values() for point in curve]
  numbers = sorted({number for number, _ in points})
  ends = [e.mean + sign * (e.error or 0.0) for _, e in points for sign in (-1, 1)]
  low, high = min(ends), max(ends)
  margin = 0.05 * (high - low) or 0.5
  first, last = np.log(numbers[0]), np.log(numbers[-1])
  across = _scale(first, max(last, first + 1e-9), left, right)
  x = lambda number: across(np.log(number))
  y = _scale(low - margin, high + margin, bottom, top)
  shapes = [_text(left, 16, title, weight="bold")]
  for value in np.linspace(low, high, 4):
    shapes.append(_line(left, y(value), right, y(value), "#ddd", 1))
    shapes.append(_text(left - 4, y(value) + 4, f"{value:.3g}", "end"))
  shapes += [_text(x(n), bottom + 14, str(n), "middle") for n in numbers]
  for name, curve in curves_of_panel.items():
    curve, colour = sorted(curve, key=lambda point: point[0]), colours[name]
    upper = [(x(n), y(e.mean + (e.error or 0.0))) for n, e in curve]
    lower = [(x(n), y(e.mean - (e.error or 0.0))) for n, e in curve]
    middle = [(x(n), y(e.mean)) for n, e in curve]
    path = lambda pairs: " ".join(f"{a:.1f},{b:.1f}" for a, b in pairs)
    shapes.append(
      f'<polygon points="{path(upper + lower[::-1])}" fill="{colour}"'
      ' fill-opacity="0.15"/>'
      f'<polyline points="{path(middle)}" fill="none" stroke="{colour}"'
      ' stroke-width="1.6"/>'
    )
    shapes += [
      f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.6" fill="{colour}"/>' for a, b in middle
    ]
  return shapes


def _scale(
  low: Number, high: Number, start: Number, end: Number
) -> Callable[[Number], Number]:
  """Returns the linear map of [low, high] to [start, end] in pixels."""
  return lambda value: start + (value - low) / (high - low) * (end - start)


def _line(
  x1: Number, y1: Number, x2: Number, y2: Number, colour: str, width: int
) -> str:
  ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
  return f'<line {ends} stroke="{colour}" stroke-width="{width}"/>'


def _text(x: Number, y: Number, text: str, anchor: str = "", weight: str = "") -> str:
  asked = {"text-anchor": anchor, "font-weight": weight}
  style = "".join(f' {name}="{value}"' for name, value in asked.items() if value)
  return f'<text x="{x:.1f}" y="{y:.1f}"{style}>{html.escape(text)}</text>'


def _svg(width: int, height: int, title: str, shapes: Sequence[str]) -> str:
  return (
    f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
    f' width="{width}" role="img" aria-label="{html.escape(title)}"'
    ' font-family="sans-serif" font-size="11">' + "".join(shapes) + "</svg>\n"
  )
