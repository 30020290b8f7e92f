"""Does the dancer stay the same person, and is the dance one that was learnt by heart.

Neither has a definition in the paper; both are of this project.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, UInt8

from dabfusion_jax.ops import image_features

THUMBNAIL_SIZE = 16


def appearance(
  trunk: Mapping, frames: UInt8[np.ndarray, "t h w 3"]
) -> Float32[np.ndarray, "t d"]:
  """What a frame looks like, wherever things stand in it: unit vectors.

  AlexNet's last feature map averaged over the picture. `trunk` is that of `lpips-alex`.
  """
  return np.asarray(_pooled(trunk, jnp.asarray(frames)), np.float32)


@jax.jit
def _pooled(trunk, frames: UInt8[Array, "t h w 3"]) -> Float[Array, "t d"]:
  images = frames.astype(jnp.float32) / 255.0
  with jax.default_matmul_precision("highest"):  # accelerators would take fewer digits
    (maps,) = image_features.alexnet_features(trunk, images, ("relu5",))
  mean = maps.mean(axis=(1, 2))
  return mean / (jnp.linalg.norm(mean, axis=-1, keepdims=True) + 1e-12)


def drift(features: Float[np.ndarray, "t d"]) -> float | None:
  """How much farther from the given frame 0 a clip ends than it begins.

  Cosine distance to frame 0, mean of the last quarter minus mean of the first quarter
  of the other frames; 0 for a person that stays itself. None below 9 frames. Real
  clips are the yardstick: their pose changes too.
  """
  if len(features) < 9:
    return None
  x = np.asarray(features, np.float64)
  distance = 1 - x[1:] @ x[0]
  quarter = len(distance) // 4
  return float(distance[-quarter:].mean() - distance[:quarter].mean())


def thumbnails(frames: UInt8[np.ndarray, "t h w 3"]) -> UInt8[np.ndarray, "t 16 16 3"]:
  """Every frame at 16 x 16 pixels, by area (sides below 16 repeat pixels)."""
  rows, columns = (_area_matrix(n) for n in frames.shape[1:3])
  x = np.einsum("ph,thwc->tpwc", rows, frames.astype(np.float32), optimize=True)
  x = np.einsum("qw,tpwc->tpqc", columns, x, optimize=True)
  return np.uint8(np.clip(x, 0, 255) + 0.5)


def _area_matrix(size: int) -> np.ndarray:
  """[16, size] float32: the share of every input pixel in every output pixel."""
  edges = np.linspace(0, size, THUMBNAIL_SIZE + 1)
  low = np.maximum(edges[:-1, None], np.arange(size)[None])
  high = np.minimum(edges[1:, None], np.arange(1, size + 1)[None])
  share = np.maximum(high - low, 0)
  return (share / share.sum(axis=1, keepdims=True)).astype(np.float32)


def nearest_distance(
  clip: UInt8[np.ndarray, "t 16 16 3"], others: UInt8[np.ndarray, "n _ 16 16 3"]
) -> tuple[float, int]:
  """Distance to the nearest of other clips, and its number.

  Root mean square difference of thumbnails in grey levels, over the frames both have.
  A model that copies scores far below what real test clips score.
  """
  if not len(others):
    raise ValueError("There are no clips to compare with.")
  length = min(len(clip), others.shape[1])
  one = clip[:length].astype(np.float32)
  distances = np.array(
    [np.sqrt(np.mean(np.square(one - other[:length]))) for other in others]
  )
  return float(distances.min()), int(distances.argmin())
