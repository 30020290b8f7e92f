"""Continues the colours around a hole of a picture, smoothly or with their grain."""

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float32

_GRAIN_SIGMA = 2.0  # pixels; what varies faster is grain
_GRAIN_LIMIT = 2.5  # of contrast, relative to the median


def fill_smoothly(
  picture: Float32[np.ndarray, "h w c"], known: Bool[np.ndarray, "h w"]
) -> Float32[np.ndarray, "h w c"]:
  """Returns the picture with all that is not known filled by weighted averages.

  Each level of the pyramid has half the size and averages what is known below. A level
  is filled from the next one, then smoothed where it was filled.
  """
  weight = known.astype(np.float32)[..., None]
  return _fill_level(picture * weight, weight)


def _fill_level(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
  """Fills a level, given its values times their weights, and the weights in [0, 1]."""
  height, width = weight.shape[:2]
  if weight.min() >= 1.0 or max(height, width) == 1:
    return values / np.maximum(weight, 1e-6)
  pads = ((0, height % 2), (0, width % 2), (0, 0))
  padded = [np.pad(x, pads, mode="edge") for x in (values, weight)]
  values_down, weight_down = (
    x.reshape(x.shape[0] // 2, 2, x.shape[1] // 2, 2, -1).sum((1, 3)) for x in padded
  )
  scale = 1 / np.maximum(weight_down, 1.0)
  coarse = _fill_level(values_down * scale, weight_down * scale)
  up = np.repeat(np.repeat(coarse, 2, 0), 2, 1)[:height, :width]
  up = scipy.ndimage.uniform_filter(up, (3, 3, 1), mode="nearest")
  return values + (1 - weight) * up


def fill_with_texture(
  picture: Float32[np.ndarray, "h w c"], known: Bool[np.ndarray, "h w"]
) -> Float32[np.ndarray, "h w c"]:
  """Returns the picture, filled smoothly, with the grain of what is known nearby.

  A pixel has the grain of the one that lies as far beyond the nearest known pixel. It
  is in brightness alone: mirrored, the colour of a bit of skin would stand out.
  """
  smooth = fill_smoothly(picture, known)
  surface = scipy.ndimage.gaussian_filter(smooth, (_GRAIN_SIGMA, _GRAIN_SIGMA, 0))
  # Beside a hole there is none: the surface bends there.
  inner = scipy.ndimage.binary_erosion(known, iterations=3, border_value=1)
  grain = ((smooth - surface) * inner[..., None]).mean(-1, keepdims=True)
  limit = _GRAIN_LIMIT * np.median(np.abs(grain[grain != 0])) if grain.any() else 0.0
  nearest = scipy.ndimage.distance_transform_edt(
    ~known, return_distances=False, return_indices=True
  )
  beyond = 2 * nearest - np.indices(known.shape)
  inside = (beyond >= 0) & (beyond < np.reshape(known.shape, (2, 1, 1)))
  rows, columns = np.where(inside.all(0), beyond, nearest)
  mirrored = np.clip(grain[rows, columns], -limit, limit)
  return smooth + mirrored * (~known & known[rows, columns])[..., None]
