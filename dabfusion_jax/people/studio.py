"""An empty studio, and where a dancer stands in it."""

import numpy as np
from jaxtyping import UInt8

from dabfusion_jax.people.shadow import Shade
from dabfusion_jax.people.squares import Square

# The place of a dancer in the frames of SynthDance: height and lower end of the body,
# relative to the frame.
DANCER_HEIGHT, DANCER_FLOOR = 0.79, 0.955
_HORIZON = 0.73  # of the studio: where the wall ends
_WALL, _FLOOR = (204.0, 204.0, 202.0), (224.0, 224.0, 222.0)


def make_studio(size: int) -> UInt8[np.ndarray, "{size} {size} 3"]:
  """Returns an empty studio: a light wall, a lighter floor, and the dancer's shadow."""
  y = ((np.arange(size) + 0.5) / size)[:, None, None]
  x = ((np.arange(size) + 0.5) / size * 2 - 1)[None, :, None]
  floor = 1 / (1 + np.exp(-(y - _HORIZON) * 120))
  colour = np.array(_WALL) * (1 - floor) + np.array(_FLOOR) * floor
  colour = colour + 7 * (1 - x**2) + 6 * y
  return np.clip(np.round(colour * _studio_light(x, y)), 0, 255).astype(np.uint8)


def studio_shade(size: int) -> Shade:
  """Returns the shadow in a studio of `make_studio`."""
  y = ((np.arange(size) + 0.5) / size)[:, None]
  x = ((np.arange(size) + 0.5) / size * 2 - 1)[None]
  return _studio_light(x, y).astype(np.float32)


def _studio_light(x: np.ndarray, y: np.ndarray) -> np.ndarray:
  shadow = np.exp(-((x / 0.28) ** 2) - ((y - DANCER_FLOOR) / 0.02) ** 2)
  return 1 - 0.3 * shadow


def studio_frame(size: int) -> Square:
  """Returns the frame of the dancer in a studio: all of it."""
  return Square(0.0, 0.0, float(size))
