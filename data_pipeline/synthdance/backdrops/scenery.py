"""Paints what stands on a floor: greenery, sky, and clutter before a wall.

Coordinates are cm on an upright plane, v up from the floor, as in `surfaces`.
"""

import numpy as np

from data_pipeline.synthdance.backdrops.colours import to_light
from data_pipeline.synthdance.backdrops.surfaces import Colours, Grain, Plane

_LEAVES = ((86, 104, 52), (110, 122, 66), (70, 92, 56), (140, 112, 58), (58, 78, 44))
_SKIES = ((214, 226, 240), (150, 186, 230), (226, 224, 220), (120, 160, 214))


def _pick(rng: np.random.Generator, *rgb: tuple[int, int, int]) -> np.ndarray:
  return to_light(rgb[int(rng.integers(len(rgb)))])


def _paint(rng: np.random.Generator) -> np.ndarray:
  """Returns the colour of a thing, from grey to vivid."""
  colour = rng.uniform(0.02, 1, 3) ** 1.8
  return colour.mean() + (colour - colour.mean()) * rng.uniform(0.1, 0.9)


def sky(rng: np.random.Generator, up: Plane, n: Grain) -> Colours:
  """Paints the sky; `up` is the height above the horizon, in 0..1."""
  colour = _pick(rng, *_SKIES) * rng.uniform(0.7, 1.4)
  pale = np.clip(1 - up / 0.6, 0, 1)[..., None]
  image = colour * (1 - 0.6 * pale) + colour.mean() * 1.3 * 0.6 * pale
  cloud = np.clip(0.6 * n(900) + 0.5 * n(300) + 0.3 * n(90) - rng.uniform(0, 1.5), 0, 1)
  return image * (1 - cloud[..., None]) + 1.1 * cloud[..., None]


def greenery(
  rng: np.random.Generator, u: Plane, v: Plane, fine: Plane
) -> tuple[Colours, Plane]:
  """Paints trees and bushes: clumps of leaves with dark gaps, and trunks.

  Returns:
    Colours, and how much they cover what is behind, 0 to 1.
  """
  n = Grain(rng, u, v, fine)
  leaf = _pick(rng, *_LEAVES)
  clump = 0.5 * n(60) + 0.6 * n(180) + 0.4 * n(22)
  g = 0.6 * clump + 0.35 * n(9.5) + 0.4 * n(5) + 0.25 * n(3) - 0.3
  image = leaf * np.clip(np.exp(1.1 * np.clip(g, -3, 1.6)), 0.04, 4.0)[..., None]
  gold = np.clip(n(26) - 1.0, 0, 1)[..., None]  # where the sun comes through
  image = image * (1 + gold * [1.4, 1.2, 0.5])
  top = rng.uniform(180, 700)
  cover = (top - v) / 130 + 0.7 * clump + 0.5 * n(20) + 0.4 * n(7)
  if rng.random() < 0.5:  # crowns begin above a clearing
    clearing = (v - rng.uniform(120, 260)) / 90 + 0.5 * n(60) + 0.5 * n(15)
    cover = np.minimum(cover, np.maximum(clearing, (45 - v) / 30 + n(12)))
  for _ in range(int(rng.integers(0, 6))):
    middle, thick = rng.uniform(-500, 500), rng.uniform(5, 24)
    trunk = np.abs(u - middle - 0.06 * v * rng.uniform(-1, 1) - 1.5 * n(50)) < thick
    trunk &= v < top
    bark = _pick(rng, (96, 80, 64), (70, 60, 52), (140, 130, 118))
    side = np.clip(0.7 + 0.5 * (u - middle) / thick, 0.2, 1.2)  # lit from one side
    grain = np.clip(1 + 0.25 * n(3, 5) + 0.2 * n(6, 4), 0.2, 2)
    behind = trunk & (cover < 0.4 + 0.5 * n(30))
    image = np.where(behind[..., None], bark * (side * grain)[..., None], image)
    cover = np.where(trunk, np.maximum(cover, 1), cover)
  return image, np.clip(cover * 3, 0, 1)


def leaves_of_paper(
  rng: np.random.Generator, u: Plane, v: Plane, size: float, count: int
) -> Colours:
  """Paints overlapping discs and rectangles whose sizes follow a power law.

  Such pictures have the edges and the spectrum of photographs (the dead leaves model
  of Lee, Mumford and Huang, 2001).
  """
  palette = np.stack([_paint(rng) for _ in range(7)])
  image = np.broadcast_to(palette[0], (*u.shape, 3)).copy()
  for _ in range(count):
    radius = size * 0.02 / rng.uniform(0.03, 1.0)
    x, y = u - size * rng.uniform(-1, 1), v - size * rng.uniform(-0.2, 1.2)
    colour = palette[int(rng.integers(7))] * rng.uniform(0.6, 1.4)
    if rng.random() < 0.5:
      inside = x * x + y * y < radius * radius
    else:
      c, s = (1.0, 0.0) if rng.random() < 0.6 else (0.8, 0.6)
      shape = rng.uniform(0.3, 2.5)
      inside = np.abs(c * x + s * y) < radius
      inside &= np.abs(c * y - s * x) < radius * shape
    slope = 1 + rng.uniform(-0.5, 0.5) * x[inside] / radius
    image[inside] = colour * slope[:, None]
  return image


def clutter(
  rng: np.random.Generator, image: Colours, u: Plane, v: Plane, fine: Plane
) -> Colours:
  """Adds furniture, posters, windows, poles and pots to a wall."""
  n = Grain(rng, u, v, fine)
  for _ in range(int(rng.integers(0, 7))):
    wide, high = rng.uniform(15, 110), rng.uniform(20, 150)
    left, low = rng.uniform(-320, 320), 0.0
    kind = int(rng.integers(6))
    if kind <= 1:  # a picture or a window on the wall
      low = rng.uniform(70, 180)
    elif kind == 2:  # a pole, a door frame, a lamp
      wide, high = rng.uniform(3, 10), rng.uniform(90, 400)
    x, y = (u - left) / wide, (v - low) / high
    inside = (x > 0) & (x < 1) & (y > 0) & (y < 1)
    if not inside.any():
      continue
    colour = _paint(rng)
    part = np.broadcast_to(colour, image.shape) * (0.75 + 0.4 * y[..., None])
    if kind == 0:
      part = leaves_of_paper(rng, u - left - wide / 2, v - low, high, 25)
    elif kind == 1:
      bars = (np.abs(x * 2 - np.round(x * 2)) < 0.05) | (np.abs(y - 0.5) < 0.03)
      part = np.where(bars[..., None], 0.7, part * 0.3 + rng.uniform(0.2, 1.2))
    elif kind == 3:  # shelves
      shelf = np.floor(y * 4)
      book = n.cell(np.floor(u / 5), shelf)[..., None]
      part = part * np.exp(np.clip(0.6 * book, -2, 1))
      part = np.where((y * 4 - shelf < 0.12)[..., None], colour * 0.4, part)
    elif kind == 4:  # a plant
      leaves, cover = greenery(rng, u - left, v, fine)
      radius = (x - 0.5) ** 2 * 4 + (y - 0.55) ** 2 * 4 + 0.3 * n(14) + 0.2 * n(6)
      inside &= radius < 0.8
      part = leaves
    frame = (x < 0.04) | (x > 0.96) | (y < 0.03) | (y > 0.97)
    if kind < 2:
      part = np.where(frame[..., None], colour * 0.5, part)
    part = part * np.clip(1 + 0.06 * n(5) + 0.06 * n(25), 0.3, 1.7)[..., None]
    image = np.where(inside[..., None], part, image)
  return image
