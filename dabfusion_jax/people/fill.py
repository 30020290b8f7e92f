"""Fills holes of a picture from what surrounds them.

A smooth surface continues the colours around a hole (a pyramid of averages); the
texture on it is that of the picture beside the hole, mirrored at its edges, because
walls, floors and meadows look alike along a row.
"""

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float32, UInt8

_TEXTURE_SIGMA = 4.0  # pixels; what varies faster is texture
_TEXTURE_LIMIT = 4.0  # of contrast, relative to the median of a row
_GRAIN_SIGMA, _GRAIN_LIMIT = 2.0, 2.5  # the same of the grain of a piece
_MIN_ROOM = 8  # columns beside a hole, from which texture is taken


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
  grain = _texture(smooth, known, _GRAIN_SIGMA).mean(-1, keepdims=True)
  limit = _GRAIN_LIMIT * np.median(np.abs(grain[grain != 0])) if grain.any() else 0.0
  nearest = scipy.ndimage.distance_transform_edt(
    ~known, return_distances=False, return_indices=True
  )
  beyond = 2 * nearest - np.indices(known.shape)
  inside = (beyond >= 0) & (beyond < np.reshape(known.shape, (2, 1, 1)))
  rows, columns = np.where(inside.all(0), beyond, nearest)
  mirrored = np.clip(grain[rows, columns], -limit, limit)
  return smooth + mirrored * (~known & known[rows, columns])[..., None]


def fill(
  picture: UInt8[np.ndarray, "h w 3"], hole: Bool[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "h w 3"]:
  """Returns the picture with a hole filled; everything else stays bit for bit."""
  if not hole.any() or hole.all():
    return picture
  known = ~hole
  smooth = fill_smoothly(picture.astype(np.float32), known)
  texture = _texture(smooth, known, _TEXTURE_SIGMA)
  # A pole or the black bar of a film is no texture: mirrored, it would be a line.
  limit = _TEXTURE_LIMIT * _median_of_rows(np.abs(texture), known)
  texture = np.clip(texture, -limit, limit)
  filled = smooth + _mirror(texture, hole)
  filled = np.clip(np.round(filled), 0, 255).astype(np.uint8)
  return np.where(hole[..., None], filled, picture)


def _texture(smooth: np.ndarray, known: np.ndarray, sigma: float) -> np.ndarray:
  """Returns what varies fast; nothing beside a hole, where the surface bends."""
  surface = scipy.ndimage.gaussian_filter(smooth, (sigma, sigma, 0))
  return (smooth - surface) * _erode(known)[..., None]


def _erode(known: np.ndarray) -> np.ndarray:
  return scipy.ndimage.binary_erosion(known, iterations=3, border_value=1)


def _median_of_rows(
  values: Float32[np.ndarray, "h w c"], known: Bool[np.ndarray, "h w"]
) -> Float32[np.ndarray, "h 1 c"]:
  """Returns the median of what is known of each row; 0 if nothing is."""
  masked = np.ma.masked_array(values, np.broadcast_to(~known[..., None], values.shape))
  return np.ma.median(masked, axis=1, keepdims=True).filled(0).astype(np.float32)


def _mirror(texture: np.ndarray, hole: np.ndarray) -> np.ndarray:
  """Returns texture for the hole, mirrored at both its edges and blended across."""
  height, width = hole.shape
  columns = np.arange(width)
  # Straight edges, or the texture would be torn or bent.
  set_columns = np.flatnonzero(hole.any(0))
  left, right = int(set_columns[0]), int(set_columns[-1])
  sides = []
  for first, step, room in ((left - 1, -1, left), (right + 1, 1, width - 1 - right)):
    if room < _MIN_ROOM:
      sides.append((0.0 * texture, np.zeros(hole.shape, np.float32)))
      continue
    # A mirror at the edge of the hole, and one at the border of the picture.
    distance = np.abs(columns - first) % (2 * room - 1)
    source = first + step * np.minimum(distance, 2 * room - 2 - distance)
    sides.append((texture[:, source], (~hole[:, source]).astype(np.float32)))
  share = (columns - left) / max(right - left, 1)
  # A mean of two textures has less contrast than either: the change is short.
  share = np.clip((share - 0.5) * 6 + 0.5, 0, 1)
  weights = [(1 - share) * sides[0][1], share * sides[1][1]]
  total = np.maximum(sum(weights), 1e-6)
  mixed = sum(w[..., None] * side[0] for w, side in zip(weights, sides, strict=True))
  return mixed / total[..., None] * (total > 1e-3)[..., None]
