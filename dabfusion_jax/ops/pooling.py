"""Pooling of images [b h w c]."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dabfusion_jax.ops.platform import forms


def _max_of_slices(x: Float[Array, "b h w c"], *, size: int) -> Float[Array, "b _ _ c"]:
  """Takes the maximum of strided slices.

  On CPU the gradient of `lax.reduce_window` is a scatter as slow as the convolutions.
  """
  height, width = ((n - size) // 2 + 1 for n in x.shape[1:3])
  slices = (
    x[:, i : i + 2 * height - 1 : 2, j : j + 2 * width - 1 : 2]
    for i in range(size)
    for j in range(size)
  )
  return functools.reduce(jnp.maximum, slices)


@forms(cpu=_max_of_slices)
def max_pool(x: Float[Array, "b h w c"], *, size: int) -> Float[Array, "b _ _ c"]:
  """Pools windows of `size` x `size` with stride 2 and drops incomplete windows.

  The gradient of equal maxima goes to the first of them; on CPU it is shared.
  """
  window, strides = (1, size, size, 1), (1, 2, 2, 1)
  return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, strides, "VALID")


def average_pool(x: Float[Array, "b h w c"], size: int) -> Float[Array, "b _ _ c"]:
  """Returns the means of windows of `size` x `size` that do not overlap.

  The sides must be multiples of `size`; with 1, images are returned as they are.
  """
  if size == 1:
    return x
  batch, height, width, channels = x.shape
  x = x.reshape(batch, height // size, size, width // size, size, channels)
  return x.mean((2, 4))
