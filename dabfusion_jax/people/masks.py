"""Masks of people in pictures: their boxes, their parts, and other sizes."""

import numpy as np
import PIL.Image
import PIL.ImageDraw
import scipy.ndimage
from jaxtyping import Bool, Float, Shaped

_MIN_AREA = 2e-3  # share of the square picture; specks are smaller


def box_of(mask: Bool[np.ndarray, "h w"]) -> tuple[int, int, int, int]:
  """Returns left, top, right and bottom of a mask; the last two are outside."""
  rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
  return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def separate(
  mask: Shaped[np.ndarray, "h w"], least: float = _MIN_AREA
) -> list[Bool[np.ndarray, "h w"]]:
  """Returns the connected parts of a mask, the largest first.

  Args:
    mask: what is above 0.5 is set.
    least: parts no larger than this share of the mask are dropped.
  """
  labels, count = scipy.ndimage.label(mask > 0.5)
  areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
  order = [i for i in np.argsort(-areas, kind="stable") if areas[i] > least * mask.size]
  return [labels == i + 1 for i in order]


def touching(
  mask: Bool[np.ndarray, "h w"], seed: Bool[np.ndarray, "h w"]
) -> Bool[np.ndarray, "h w"]:
  """Returns all but the connected parts of a mask that touch no seed."""
  labels, _ = scipy.ndimage.label(mask)
  kept = np.unique(labels[seed & mask])
  other = mask & ~np.isin(labels, kept[kept > 0])
  return ~scipy.ndimage.binary_dilation(other, iterations=2)


def fill_polygon(
  corners: Float[np.ndarray, "n 2"], shape: tuple[int, int]
) -> Bool[np.ndarray, "h w"]:
  """Returns the pixels of a polygon with corners (x, y), in a mask of some shape."""
  image = PIL.Image.new("1", shape[::-1])
  PIL.ImageDraw.Draw(image).polygon([tuple(corner) for corner in corners], fill=1)
  return np.asarray(image)


def resize_mask(
  mask: Bool[np.ndarray, "h w"], shape: tuple[int, int]
) -> Bool[np.ndarray, "h2 w2"]:
  """Returns a mask of another height and width."""
  if mask.shape == shape:
    return mask
  image = PIL.Image.fromarray(mask.astype(np.uint8))
  return np.asarray(image.resize(shape[::-1], PIL.Image.NEAREST)) > 0
