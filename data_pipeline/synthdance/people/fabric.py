"""Draws what layers of a person are made of: colours, patterns, folds, gloss."""

import dataclasses

import numpy as np
from jaxtyping import Float32, Float64

from data_pipeline.synthdance.backdrops.colours import to_light

PLAIN, STRIPES, CHECKS, BLOTCHES, PRINT, BANDS, DOTS = range(7)
JEANS = (
  (44, 58, 88), (66, 88, 124), (98, 122, 156), (30, 34, 46), (20, 20, 22),
  (132, 152, 178),
)  # fmt: skip
KHAKI = (
  (196, 178, 148),
  (150, 134, 104),
  (104, 104, 84),
  (222, 214, 198),
  (70, 66, 60),
)


@dataclasses.dataclass(frozen=True)
class Material:
  """How one layer looks, besides the colour of its points; lengths in cm.

  Attributes:
    second: linear colour of the pattern.
    pattern: one of the constants above.
    size: of the pattern.
    folds, fold_size: slope of folds, and their distance.
    gloss: strength of highlights.
    sharpness: their exponent is 2 to this power.
    wrap: how far red light creeps around, as it does in skin.
    weave: contrast of the finest structure.
    hair: whether it consists of strands.
    print_at: height of the middle of a print at rest, and half its width.
    placket: half the width of a line of buttons in front, or 0.
  """

  second: tuple[float, float, float] = (0.0, 0.0, 0.0)
  pattern: int = PLAIN
  size: float = 1.0
  folds: float = 0.0
  fold_size: float = 3.0
  gloss: float = 0.0
  sharpness: int = 3
  wrap: float = 0.0
  weave: float = 0.0
  hair: bool = False
  print_at: tuple[float, float] = (0.0, 1.0)
  placket: float = 0.0

  def row(self) -> Float32[np.ndarray, "16"]:
    """Returns the numbers that `shading.shade` reads, in its order."""
    return np.float32(
      [
        *self.second,
        self.pattern,
        self.size,
        self.folds,
        self.fold_size,
        self.gloss,
        self.sharpness,
        self.wrap,
        self.weave,
        self.hair,
        *self.print_at,
        self.placket,
        0,
      ]
    )


def choose(rng: np.random.Generator, *items):
  """Returns one of the items."""
  return items[int(rng.integers(len(items)))]


def tint(
  rng: np.random.Generator, *rgb: tuple[int, int, int], spread: float = 0.1
) -> Float64[np.ndarray, "3"]:
  """Returns one of the colours, a little brighter or darker, in linear light."""
  return to_light(choose(rng, *rgb)) * (1 + spread * rng.uniform(-1, 1))


def cloth_colour(rng: np.random.Generator) -> Float64[np.ndarray, "3"]:
  """Draws the linear colour of a garment: black to white as often as coloured."""
  if rng.random() < 0.48:
    value = choose(rng, 0.02, 0.03, 0.05, 0.09, 0.2, 0.35, 0.6, 0.78, 0.82)
    return value * rng.uniform(0.88, 1.08, 3)
  hue, low = rng.uniform(0, 3), rng.uniform(0.04, 0.5)
  vivid = np.clip(np.abs((hue + np.arange(3)) % 3 - 1.5) * 2 - 0.5, 0, 1)
  colour = low + rng.uniform(0.1, 0.65) * vivid * (1 - low)
  return np.clip(colour * np.exp(rng.uniform(-2.3, -0.25)), 0.015, 0.85)


def cloth(
  rng: np.random.Generator, chest: float, *, plain: float, folds: tuple[float, float]
) -> Material:
  """Draws a cloth.

  Args:
    rng: source of chance.
    chest: height of the middle of a print.
    plain: how often it has no pattern.
    folds: range of the slope of folds.
  """
  second = cloth_colour(rng)
  pattern = PLAIN
  if rng.random() > plain:
    pattern = choose(rng, STRIPES, STRIPES, CHECKS, BLOTCHES, PRINT, PRINT, BANDS, DOTS)
  size = rng.uniform(2, 6) if pattern in (BLOTCHES, DOTS) else rng.uniform(2.5, 11)
  return Material(
    second=(float(second[0]), float(second[1]), float(second[2])),
    pattern=pattern,
    size=size,
    folds=rng.uniform(*folds),
    fold_size=rng.uniform(1.9, 3.8),
    gloss=choose(rng, 0.0, 0.0, 0.02, 0.05),
    sharpness=3,
    weave=rng.uniform(0.02, 0.10),
    print_at=(chest, rng.uniform(4, 10)),
  )
