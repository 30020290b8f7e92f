"""Encodings of frames and timesteps: relative buckets, rotations, sinusoids."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

NUM_BUCKETS = 32
# T5's bidirectional map for 32 buckets and distances up to 32, one entry per distance;
# the last bucket holds all larger ones. Written out because distance 16 falls exactly
# on a boundary of the logarithm, where float32 rounds to the wrong side.
_DISTANCE_BUCKET = np.array(
  [0, 1, 2, 3, 4, 5, 6, 7]
  + [8, 8, 9, 9, 10, 10, 11, 11]
  + [12, 12, 12, 12, 13, 13, 13, 14, 14, 14, 14, 15]
)


def relative_buckets(num_frames: int) -> Int[np.ndarray, "t t"]:
  """Returns the bucket in [0, 32) of every (query, key) pair of frames.

  Buckets of keys after the query start at 16.
  """
  frames = np.arange(num_frames)
  distance = frames[None, :] - frames[:, None]  # key - query
  last = len(_DISTANCE_BUCKET) - 1
  bucket = _DISTANCE_BUCKET[np.minimum(np.abs(distance), last)]
  return bucket + np.where(distance > 0, NUM_BUCKETS // 2, 0)


def rotate(x: Float[Array, "..."], axis: int) -> Float[Array, "..."]:
  """Applies rotary position embedding (2104.09864) to features in half-split order.

  Rotates the features (i, i + d/2) as a pair by the angle frame * 10000^(-2i/d). The
  product of queries and keys does not depend on the order of their features, so
  `split_pairs` may reorder the parameters' interleaved pairs (2i, 2i + 1).

  Args:
    x: queries or keys with the features last.
    axis: the axis of frames.
  """
  num_frames, size = x.shape[axis], x.shape[-1]
  shape = [1] * x.ndim
  shape[axis], shape[-1] = num_frames, size
  cosine, sine = (
    jnp.asarray(table, x.dtype).reshape(shape) for table in rotation(num_frames, size)
  )
  return x * cosine + turn(x) * sine


def rotation(num_frames: int, size: int) -> tuple[np.ndarray, np.ndarray]:
  """Returns cosines and sines of the angles of `rotate`, each [t d]."""
  frequency = 10000.0 ** (-np.arange(0, size, 2) / size)
  angle = np.arange(num_frames)[:, None] * frequency
  return np.tile(np.cos(angle), 2), np.tile(np.sin(angle), 2)


def turn(x: Float[Array, "*n d"]) -> Float[Array, "*n d"]:
  """Turns the pairs of features (i, i + d/2) by a right angle."""
  half = x.shape[-1] // 2
  return jnp.concatenate([-x[..., half:], x[..., :half]], axis=-1)


def split_pairs(kernel: Float[Array, "*n d"]) -> Float[Array, "*n d"]:
  """Reorders the features (0, 1, 2, 3, ...) to (0, 2, ..., 1, 3, ...)."""
  return jnp.concatenate([kernel[..., ::2], kernel[..., 1::2]], axis=-1)


def sinusoid(timestep: Int[Array, "b"], size: int) -> Float[Array, "b d"]:
  """Returns sines, then cosines, of timestep * 10000^(-i / (size/2 - 1)), i < size/2.

  `size` is even and at least 4.
  """
  half = size // 2
  frequency = 10000.0 ** (-np.arange(half) / (half - 1))
  angle = timestep[:, None] * jnp.asarray(frequency, jnp.float32)[None]
  return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)
