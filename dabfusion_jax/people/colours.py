"""Tells how well colours suit those of a region nearby."""

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float32

from dabfusion_jax.people.fill import fill_smoothly

_NOISE = 12.0  # levels, by which colours of a surface differ at least


def log_likelihood(
  colours: Float32[np.ndarray, "h w 3"], known: Bool[np.ndarray, "h w"], around: float
) -> Float32[np.ndarray, "h w"]:
  """Returns how likely it is that each pixel has a region's colours.

  The unit is the natural logarithm of a likelihood, up to a constant.

  The region's colours around a pixel are a Gaussian of brightness and of two
  differences of colour, continued smoothly beyond the region. Shadows change the first
  more than the others.

  Args:
    colours: of the picture, 0 to 255.
    known: the region; at least one pixel.
    around: pixels over which its colours are taken together.
  """
  red, green, blue = np.moveaxis(colours, -1, 0)
  brightness, yellow = (red + green + blue) / 3, (red + green) / 2 - blue
  values = np.stack([brightness, red - green, yellow], axis=-1)
  powers = fill_smoothly(np.concatenate([values, values**2], axis=-1), known)
  powers = scipy.ndimage.gaussian_filter(powers, (around, around, 0))
  mean, square = powers[..., :3], powers[..., 3:]
  variance = np.maximum(square - mean**2, 0) + np.float32(_NOISE**2)
  return -0.5 * ((values - mean) ** 2 / variance + np.log(variance)).sum(-1)
