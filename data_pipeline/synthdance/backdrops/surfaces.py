"""Paints floors and walls: linear colours at points of a plane, given in cm.

Every painter takes a source of chance, coordinates u and v on the plane (v is up on a
wall), and the distance between neighbouring samples there, `fine`. Detail smaller than
that is left out, so that distant floors do not flicker between samples.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float64

from data_pipeline.synthdance.backdrops.colours import to_light
from data_pipeline.synthdance.backdrops.grain import Plane, smooth_values

Colours = Float64[np.ndarray, "h w 3"]
Painter = Callable[[np.random.Generator, Plane, Plane, Plane], Colours]


class Grain:
  """Smooth random values on the plane, and random values per cell of a grid."""

  def __init__(self, rng: np.random.Generator, u: Plane, v: Plane, fine: Plane):
    """Draws the tables of one surface."""
    self.u, self.v, self.fine = u, v, fine
    self._table = rng.normal(size=(4, 64, 64))
    self._turn = 0
    # How strong detail of the size of a sample is; pictures in focus have much of it.
    self.sharp = rng.uniform(0.8, 3.2)

  def __call__(self, size: float | int, stretch: float | int = 1) -> Plane:
    """Returns values of unit variance that change over `size` cm (u) and more (v)."""
    self._turn += 1
    value = smooth_values(
      self._table[self._turn % 4],
      self.u,
      self.v,
      float(size),
      float(size * stretch),
      13.7 * self._turn,
      5.3 * self._turn,
    )
    fade = np.clip(size / (2.0 * self.fine), 0, 1)
    return value * fade * (self.sharp if size < 10 else 1.0)

  def cell(self, i: Plane, j: Plane) -> Plane:
    """Returns a value of unit variance for each cell with whole coordinates."""
    return self._table[0][
      i.astype(int) * 7 % 64, (j.astype(int) * 13 + i.astype(int)) % 64
    ]

  def near(self, size: float | int) -> Plane:
    """Returns 1 where detail of `size` cm is visible, less where it is too far."""
    return np.clip(size / self.fine, 0, 1)


def _pick(rng: np.random.Generator, *rgb: tuple[int, int, int]) -> np.ndarray:
  base = to_light(rgb[int(rng.integers(len(rgb)))])
  return base * rng.uniform(0.8, 1.2) * (1 + 0.06 * rng.normal(size=3))


def _lines(position: Plane, width: float) -> Bool[np.ndarray, "h w"]:
  """Returns whether a position is within `width` of a whole number."""
  return np.abs(position - np.round(position)) < width


def grass(rng, u, v, fine):
  """Paints a lawn: blades, tufts, and worn places."""
  base = _pick(rng, (98, 116, 62), (118, 130, 80), (84, 104, 56), (140, 134, 92))
  n = Grain(rng, u, v, fine)
  g = 0.22 * n(2.0) + 0.20 * n(4.5) + 0.12 * n(11) + 0.1 * n(60) + 0.12 * n(200)
  dry = np.clip(0.5 * n(90) + 0.25 * n(24) - rng.uniform(0.1, 1.2), 0, 1)[..., None]
  colour = base * (1 - dry) + to_light((168, 150, 110)) * dry
  return colour * np.exp(np.clip(g, -2, 1.2))[..., None]


def asphalt(rng, u, v, fine):
  """Paints a road, gravel or concrete, sometimes with a line or a joint."""
  base = _pick(
    rng,
    (128, 126, 124),
    (150, 146, 140),
    (98, 98, 100),
    (176, 168, 154),
    (160, 140, 116),
  )
  n = Grain(rng, u, v, fine)
  g = 0.10 * n(2.2) + 0.08 * n(5) + 0.04 * n(14) + 0.08 * n(160)
  if rng.random() < 0.4:
    g = g - 0.3 * _lines(u / rng.uniform(150, 300), 0.006) * n.near(4)
  colour = base * np.clip(1 + g, 0.2, 2)[..., None]
  if rng.random() < 0.25:
    stripe = np.abs(u - rng.uniform(-150, 150)) < rng.uniform(4, 9)
    paint = to_light((222, 220, 208)) * np.clip(1 + 0.15 * n(8), 0.5, 1.3)[..., None]
    colour = np.where((stripe & (n(9) > -1.3))[..., None], paint, colour)
  return colour


def earth(rng, u, v, fine):
  """Paints sand, soil or leaf litter."""
  base = _pick(rng, (170, 150, 120), (128, 104, 80), (196, 178, 148), (110, 92, 66))
  n = Grain(rng, u, v, fine)
  g = 0.14 * n(3) + 0.16 * n(7) + 0.10 * n(22) + 0.14 * n(90)
  return base * np.exp(np.clip(g, -1.6, 1.2))[..., None]


def planks(rng, u, v, fine):
  """Paints boards: a wooden floor, or a fence."""
  base = _pick(
    rng, (176, 134, 92), (140, 98, 64), (200, 168, 128), (96, 66, 46), (186, 178, 166)
  )
  n = Grain(rng, u, v, fine)
  width = rng.uniform(9, 18)
  board = np.floor(u / width)
  tone = n.cell(board, np.floor(v / 130 + board * 0.37))
  gap = _lines(u / width, 0.04) * n.near(2.0)
  g = 0.16 * tone + 0.09 * n(1.4, 12) + 0.05 * n(8, 6) + 0.04 * n(60) - 0.45 * gap
  return base * np.clip(1 + g, 0.15, 2)[..., None]


def tiles(rng, u, v, fine):
  """Paints square tiles with joints; half of them in two tones."""
  base = _pick(rng, (206, 200, 190), (120, 116, 112), (168, 150, 132), (70, 72, 78))
  n = Grain(rng, u, v, fine)
  side = rng.choice([20.0, 30.0, 45.0, 60.0])
  a, b = u / side, v / side
  gap = (_lines(a, 0.025) | _lines(b, 0.025)) * n.near(3.0)
  odd = (np.floor(a - 0.5) + np.floor(b - 0.5)) % 2 * n.near(side / 2)
  tone = n.cell(np.floor(a - 0.5), np.floor(b - 0.5))
  g = 0.05 * n(6) + 0.05 * n(30) + 0.05 * tone + rng.choice([-0.4, 0.0]) * gap
  g = g - (0.5 if rng.random() < 0.3 else 0.0) * odd
  return base * np.clip(1 + g + 0.02, 0.1, 2)[..., None]


def carpet(rng, u, v, fine):
  """Paints a carpet: plain, striped or with lozenges."""
  base, other = (0.75 * rng.uniform(0.03, 0.6, 3) + 0.1 for _ in range(2))
  n = Grain(rng, u, v, fine)
  kind, size = int(rng.integers(3)), rng.uniform(12, 50)
  wave = np.floor(u / size) % 2 if kind == 1 else 0 * u
  if kind == 2:
    wave = np.floor((u + v) / size) % 2 * (np.floor((u - v) / size) % 2)
  share = (wave * n.near(size / 2))[..., None]
  colour = base * (1 - share) + other * share
  return colour * np.clip(1 + 0.12 * n(2) + 0.05 * n(40), 0.4, 1.6)[..., None]


def brick(rng, u, v, fine):
  """Paints a brick wall."""
  base = _pick(rng, (150, 92, 72), (178, 160, 146), (110, 74, 62), (214, 210, 204))
  mortar = base * rng.choice([0.5, 1.6]) + 0.03
  n = Grain(rng, u, v, fine)
  row = np.floor(v / 7.5)
  a = u / 22 + 0.5 * (row % 2)
  tone = n.cell(np.floor(a), row)
  gap = (_lines(a, 0.03) | _lines(v / 7.5, 0.08)) * n.near(3.0)
  g = 0.22 * tone * n.near(6.0) + 0.10 * n(3) + 0.08 * n(60)
  colour = base * np.clip(1 + g, 0.2, 2)[..., None]
  return colour * (1 - gap[..., None]) + mortar * gap[..., None]


def stones(rng, u, v, fine):
  """Paints a wall or path of irregular stones."""
  base = _pick(rng, (150, 142, 130), (112, 108, 104), (178, 166, 146))
  n = Grain(rng, u, v, fine)
  size = rng.uniform(14, 40)
  a, b = u / size + 0.35 * n(size), v / (0.7 * size) + 0.35 * n(size)
  b = b + 0.5 * (np.floor(a) % 2)
  gap = (_lines(a, 0.06) | _lines(b, 0.07)) * n.near(4.0)
  tone = n.cell(np.floor(a - 0.5), np.floor(b - 0.5))
  g = 0.25 * tone * n.near(size / 2) + 0.12 * n(4) + 0.1 * n(9) - 0.6 * gap
  return base * np.clip(1 + g, 0.1, 2)[..., None]


def plain(rng, u, v, fine):
  """Paints a plastered wall or a paper backdrop."""
  base = _pick(
    rng, (226, 222, 214), (204, 206, 208), (150, 152, 156), (188, 176, 160),
    (90, 96, 106), (236, 236, 234), (160, 168, 150), (196, 158, 140), (120, 138, 160),
    (60, 60, 64), (150, 70, 60), (60, 90, 80), (214, 190, 120),
  )  # fmt: skip
  n = Grain(rng, u, v, fine)
  g = 0.02 * n(4) + 0.03 * n(30) + 0.05 * n(140)
  return base * np.clip(1 + g, 0.2, 2)[..., None]


def blinds(rng, u, v, fine):
  """Paints a curtain, a radiator, corrugated metal: bright and dark bands."""
  base = rng.uniform(0.08, 0.7) * (1 + 0.15 * rng.normal(size=3))
  n = Grain(rng, u, v, fine)
  size = rng.uniform(4, 16)
  along = u if rng.random() < 0.7 else v
  phase = along / size + 0.25 * n(40, 4)
  wave = np.abs(phase - np.round(phase)) * 4 - 1  # a triangle between -1 and 1
  g = rng.uniform(0.15, 0.6) * wave * n.near(size / 2) + 0.03 * n(5) + 0.05 * n(120)
  return np.maximum(base, 0.02) * np.clip(1 + g, 0.1, 2)[..., None]


FLOORS_OUTSIDE: tuple[Painter, ...] = (
  grass,
  grass,
  grass,
  asphalt,
  asphalt,
  earth,
  stones,
)
FLOORS_INSIDE: tuple[Painter, ...] = (planks, planks, tiles, carpet, plain, asphalt)
WALLS_OUTSIDE: tuple[Painter, ...] = (brick, planks, stones, plain, blinds)
WALLS_INSIDE: tuple[Painter, ...] = (plain, plain, brick, planks, blinds, tiles)
