"""Converts between sound in [-1, 1] and the 16-bit samples that records store."""

import numpy as np
from jaxtyping import Float32, Int16

_FULL_SCALE = 32767


def sound_to_int16(sound: Float32[np.ndarray, "*s"]) -> Int16[np.ndarray, "*s"]:
  """Rounds sound in [-1, 1] to 16-bit samples."""
  return np.round(sound * _FULL_SCALE).astype(np.int16)


def int16_to_sound(samples: Int16[np.ndarray, "*s"]) -> Float32[np.ndarray, "*s"]:
  """Returns the sound of 16-bit samples; `sound_to_int16` inverts it exactly."""
  return samples.astype(np.float32) / _FULL_SCALE
