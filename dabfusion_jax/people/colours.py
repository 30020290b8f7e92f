"""Tells how well colours suit those of a region nearby."""

import numpy as np
import PIL.Image
import scipy.ndimage
from jaxtyping import Bool, Float32

from dabfusion_jax.people.fill import fill_smoothly

_NOISE = 12.0  # levels, by which colours of a surface differ at least
_FINE = 4.0  # pixels of a Gaussian, from whose double on the picture is reduced first


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
  powers = _blur(powers, around)
  mean, square = powers[..., :3], powers[..., 3:]
  variance = np.maximum(square - mean**2, 0) + np.float32(_NOISE**2)
  return -0.5 * ((values - mean) ** 2 / variance + np.log(variance)).sum(-1)


def _blur(
  values: Float32[np.ndarray, "h w c"], sigma: float
) -> Float32[np.ndarray, "h w c"]:
  """Returns values under a Gaussian; a wide one is as good on a reduced picture."""
  step = max(int(sigma / _FINE), 1)
  rows, columns, depth = values.shape
  pads = ((0, -rows % step), (0, -columns % step), (0, 0))
  blocks = np.pad(values, pads, "symmetric")
  blocks = blocks.reshape(-(-rows // step), step, -(-columns // step), step, depth)
  small = blocks.mean((1, 3))
  small = scipy.ndimage.gaussian_filter(small, (sigma / step, sigma / step, 0))
  if step == 1:
    return small
  size = (step * small.shape[1], step * small.shape[0])
  channels = [
    PIL.Image.fromarray(channel) for channel in small.transpose(2, 0, 1).copy()
  ]
  large = [channel.resize(size, PIL.Image.BILINEAR) for channel in channels]
  return np.stack(large, -1)[:rows, :columns]
