"""Figures against the number of steps, as an SVG with error bands."""

import html
from collections.abc import Mapping, Sequence

import numpy as np

from dabfusion_jax.evaluation.study.estimates import Estimate

Series = Mapping[str, Sequence[tuple[int, Estimate]]]  # by method: (steps, figure)

_COLOURS = ("#4a7fb5", "#c0392b", "#2a8f4f", "#c08000", "#7b3fa0", "#555")
_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 330, 210, 52, 26, 34


def plot(panels: Mapping[str, Series]) -> str:
  """Panels by title, side by side in rows of two; the abscissa is logarithmic.

  Bands are one standard error to either side.
  """
  methods = sorted({method for series in panels.values() for method in series})
  colours = dict(zip(methods, _COLOURS * len(methods), strict=False))
  drawn = []
  for index, (title, series) in enumerate(panels.items()):
    x, y = index % 2 * _WIDTH, index // 2 * _HEIGHT
    inside = _panel(title, series, colours)
    drawn.append(f'<g transform="translate({x} {y})">{inside}</g>')
  height = (len(panels) + 1) // 2 * _HEIGHT
  for i, method in enumerate(methods):
    place = _LEFT + 105 * i
    drawn.append(
      f'<rect x="{place}" y="{height + 5}" width="12" height="12"'
      f' fill="{colours[method]}"/><text x="{place + 16}" y="{height + 15}">'
      f"{html.escape(method)}</text>"
    )
  return (
    f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * _WIDTH} {height + 24}"'
    f' width="{2 * _WIDTH}" font-family="sans-serif" font-size="11">'
    '<rect width="100%" height="100%" fill="white"/>' + "".join(drawn) + "</svg>\n"
  )


def _panel(title: str, series: Series, colours: Mapping[str, str]) -> str:
  points = [point for line in series.values() for point in line]
  steps = sorted({number for number, _ in points})
  edges = [e.value + k * (e.error or 0.0) for _, e in points for k in (-1, 1)]
  low, high = min(edges), max(edges)
  margin = 0.05 * (high - low) or 0.5
  low, high = low - margin, high + margin
  first, last = np.log(steps[0]), np.log(steps[-1])
  across = (_WIDTH - _LEFT - 14) / max(last - first, 1e-9)
  x = lambda number: _LEFT + (np.log(number) - first) * across
  y = lambda value: _TOP + (high - value) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)
  parts = [f'<text x="{_LEFT}" y="16" font-weight="bold">{html.escape(title)}</text>']
  for value in np.linspace(low + margin, high - margin, 4):
    parts.append(
      f'<line x1="{_LEFT}" x2="{_WIDTH - 14}" y1="{y(value):.1f}" y2="{y(value):.1f}"'
      f' stroke="#ddd"/><text x="{_LEFT - 4}" y="{y(value) + 4:.1f}"'
      f' text-anchor="end">{value:.3g}</text>'
    )
  for number in steps:
    parts.append(
      f'<text x="{x(number):.1f}" y="{_HEIGHT - _BOTTOM + 14}"'
      f' text-anchor="middle">{number}</text>'
    )
  for method, line in series.items():
    line = sorted(line, key=lambda point: point[0])
    band = [(n, e.value + (e.error or 0.0)) for n, e in line]
    band += [(n, e.value - (e.error or 0.0)) for n, e in reversed(line)]
    shape = lambda pairs: " ".join(f"{x(n):.1f},{y(v):.1f}" for n, v in pairs)
    colour = colours[method]
    middle = [(n, e.value) for n, e in line]
    parts.append(
      f'<polygon points="{shape(band)}" fill="{colour}" fill-opacity="0.15"/>'
      f'<polyline points="{shape(middle)}" fill="none" stroke="{colour}"'
      ' stroke-width="1.6"/>'
    )
    parts += [
      f'<circle cx="{x(n):.1f}" cy="{y(v):.1f}" r="2.6" fill="{colour}"/>'
      for n, v in middle
    ]
  return "".join(parts)
