"""Conversion between uint8 images and float images in [0, 1]."""

import jax
import numpy as np
from jaxtyping import Float, Float32, UInt8


def from_uint8(
  image: UInt8[np.ndarray | jax.Array, "..."],
) -> Float32[np.ndarray | jax.Array, "..."]:
  """Returns the image in [0, 1], a numpy array for a numpy array."""
  return image.astype(np.float32) / np.float32(255)


def to_uint8(image: Float[np.ndarray | jax.Array, "..."]) -> UInt8[np.ndarray, "..."]:
  """Clips the image to [0, 1] and rounds it to 0, ..., 255, on the host."""
  return np.uint8(np.clip(np.asarray(image), 0, 1) * 255 + 0.5)
