"""Draws flow and keypoints, for the pictures of a training."""

import numpy as np
from jaxtyping import Array, Float, Float32

from dabfusion_jax.ops.grid import identity_grid


def flow_to_colour(
  flow: Float[Array | np.ndarray, "*b h w 2"], scale: float = 0.25
) -> Float32[np.ndarray, "*b h w 3"]:
  """Draws the displacement from the identity: direction as hue, length as saturation.

  No displacement is white; saturation is full at `scale`, in units of the grid.
  """
  flow = np.asarray(flow, np.float32)
  offset = flow - np.asarray(identity_grid(*flow.shape[-3:-1]))
  angle = np.arctan2(offset[..., 1], offset[..., 0])
  strength = np.clip(np.hypot(offset[..., 0], offset[..., 1]) / scale, 0, 1)
  phase = angle[..., None] + np.array([0, 2, 4], np.float32) * (np.pi / 3)
  return 1 - strength[..., None] * (0.5 - 0.5 * np.cos(phase))


def mark_keypoints(
  images: Float[Array | np.ndarray, "b h w 3"],
  position: Float[Array | np.ndarray, "b k 2"],
) -> Float[np.ndarray, "b h w 3"]:
  """Returns a copy of the images with a 3 x 3 dot of its own colour per keypoint."""
  images = np.array(images)
  height, width = images.shape[1:3]
  number = position.shape[1]
  for image, points in zip(images, np.asarray(position), strict=True):
    for k, (x, y) in enumerate(points):
      column = int(round((x + 1) / 2 * (width - 1)))
      row = int(round((y + 1) / 2 * (height - 1)))
      hue = 2 * np.pi * (k / number + np.arange(3) / 3)
      rows = slice(max(row - 1, 0), row + 2)
      image[rows, max(column - 1, 0) : column + 2] = 0.5 + 0.5 * np.cos(hue)
  return images
