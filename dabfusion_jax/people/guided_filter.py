"""Guided filter: a coarse map takes the edges of a picture.

He, Sun and Tang, "Guided Image Filtering" (2010), with a colour picture as guide.
"""

import numpy as np
import scipy.ndimage
from jaxtyping import Float, Float32


def guided_filter(
  values: Float[np.ndarray, "h w"],
  guide: Float[np.ndarray, "h w 3"],
  radius: int,
  epsilon: float,
) -> Float32[np.ndarray, "h w"]:
  """Returns the map that is, in each window, a linear function of the colours.

  Args:
    values: the coarse map.
    guide: the picture in [0, 1].
    radius: of a window, in pixels.
    epsilon: variance of colour below which the map is averaged.
  """
  values, guide = values.astype(np.float32), guide.astype(np.float32)

  def mean(x):
    size = (2 * radius + 1, 2 * radius + 1, *(1,) * (x.ndim - 2))
    return scipy.ndimage.uniform_filter(x, size, mode="nearest")

  mean_guide, mean_values = mean(guide), mean(values)
  products = guide[..., :, None] * guide[..., None, :]
  covariance = mean(products) - mean_guide[..., :, None] * mean_guide[..., None, :]
  covariance += epsilon * np.eye(3, dtype=np.float32)
  with_values = mean(guide * values[..., None]) - mean_guide * mean_values[..., None]
  slope = np.linalg.solve(covariance, with_values[..., None])[..., 0]
  offset = mean_values - (slope * mean_guide).sum(-1)
  return (mean(slope) * guide).sum(-1) + mean(offset)
