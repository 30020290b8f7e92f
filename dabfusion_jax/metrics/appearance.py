"""Whether the dancer remains the same person, and whether a dance is a training clip.

The paper defines neither; both are measures of this project.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, UInt8

from dabfusion_jax.ops import image_features
from dabfusion_jax.ops.pixels import from_uint8
from dabfusion_jax.ops.resize import area_matrix

THUMBNAIL_SIZE = 16


def appearance(
  trunk: Mapping, frames: UInt8[np.ndarray, "t h w 3"]
) -> Float32[np.ndarray, "t d"]:
  """Returns a unit vector per frame that describes its look but not its layout.

  It is AlexNet's last feature map averaged over the image. `trunk` is that of the
  weights `lpips-alex`.
  """
  return np.asarray(_pooled(trunk, jnp.asarray(frames)), np.float32)


@jax.jit
def _pooled(trunk: Mapping, frames: UInt8[Array, "t h w 3"]) -> Float[Array, "t d"]:
  with jax.default_matmul_precision("highest"):  # accelerators default to fewer digits
    (maps,) = image_features.alexnet_features(trunk, from_uint8(frames), ("relu5",))
  mean = maps.mean(axis=(1, 2))
  return mean / (jnp.linalg.norm(mean, axis=-1, keepdims=True) + 1e-12)


def drift(features: Float[np.ndarray, "t d"]) -> float | None:
  """Returns how much farther from frame 0 a clip ends than it begins.

  The distance is the cosine distance to frame 0, which is given; the drift is its mean
  over the last quarter of the other frames minus that over the first quarter. It is 0
  if the person remains the same, and None below 9 frames. Compare with real clips,
  whose poses change too.
  """
  if len(features) < 9:
    return None
  x = np.asarray(features, np.float64)
  distance = 1 - x[1:] @ x[0]
  quarter = len(distance) // 4
  return float(distance[-quarter:].mean() - distance[:quarter].mean())


def thumbnails(frames: UInt8[np.ndarray, "t h w 3"]) -> UInt8[np.ndarray, "t 16 16 3"]:
  """Returns the frames at 16 x 16 pixels, averaged by area."""
  rows, columns = (area_matrix(n, THUMBNAIL_SIZE) for n in frames.shape[1:3])
  x = np.einsum("ph,thwc->tpwc", rows, frames.astype(np.float32), optimize=True)
  x = np.einsum("qw,tpwc->tpqc", columns, x, optimize=True)
  return np.uint8(np.clip(x, 0, 255) + 0.5)


def nearest_distance(
  clip: UInt8[np.ndarray, "t 16 16 3"], others: UInt8[np.ndarray, "n _ 16 16 3"]
) -> tuple[float, int]:
  """Returns the distance to the nearest of other clips, and the index of that clip.

  It is the root mean square difference of thumbnails in grey levels, over the frames
  that both have. For a model that copies it is far below that of real test clips.

  Raises:
    ValueError: there are no other clips.
  """
  if not len(others):
    raise ValueError("There are no clips to compare with.")
  length = min(len(clip), others.shape[1])
  frames = clip[:length].astype(np.float32)
  distances = np.array(
    [np.sqrt(np.mean(np.square(frames - other[:length]))) for other in others]
  )
  return float(distances.min()), int(distances.argmin())
