"""Turns light into the levels of a picture and back.

Pictures are drawn in linear light. Powers round differently between processors, so both
directions go through tables whose entries are rounded.
"""

import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Float64

GAMMA = 2.2
_SIZE = 4096
_MAX_LIGHT = 4.0  # brighter light has the level of this one


@functools.cache
def _levels() -> Float32[np.ndarray, "n"]:
  """Returns levels for light (MAX * (i / n)^2): dense where levels are steep.

  Light above 0.7 is compressed smoothly, as cameras do, so that highlights keep shape.
  """
  light = _MAX_LIGHT * (np.arange(_SIZE + 2) / _SIZE) ** 2
  bright = 0.7 + 0.3 * np.tanh((light - 0.7) / 0.3)
  level = np.where(light > 0.7, bright, light) ** (1 / GAMMA)
  return np.round(255 * level, 4).astype(np.float32)


def to_levels(light: Float32[np.ndarray, "*n"]) -> Float32[np.ndarray, "*n"]:
  """Returns the levels, 0 to 255, that a camera gives to linear light."""
  table = _levels()
  place = np.sqrt(np.clip(light, 0, _MAX_LIGHT) * np.float32(1 / _MAX_LIGHT))
  place = place * np.float32(_SIZE)
  low = place.astype(np.int32)
  share = place - low.astype(np.float32)
  return table[low] * (1 - share) + table[low + 1] * share


@functools.cache
def _light() -> Float32[np.ndarray, "n"]:
  return to_light(np.arange(257)).astype(np.float32)


def levels_to_light(
  levels: Float32[np.ndarray, "*n"],
) -> Float32[np.ndarray, "*n"]:
  """Returns the linear light of levels between 0 and 255, not only of whole ones."""
  levels = np.clip(levels, 0, np.float32(255))
  low = levels.astype(np.int32)
  share = levels - low.astype(np.float32)
  return _light()[low] * (1 - share) + _light()[low + 1] * share


def to_light(rgb: Sequence[int] | np.ndarray) -> Float64[np.ndarray, "*n"]:
  """Returns linear light, 0 to 1, of 8-bit levels; rounded to 6 digits."""
  return np.round((np.asarray(rgb, np.float64) / 255) ** GAMMA, 6)
