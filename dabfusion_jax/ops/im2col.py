"""Patches of images as rows of a matrix (im2col), and gradients of kernels by them."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dabfusion_jax.ops.chunks import chunk_size

_GATHERED = 2**20  # numbers that are gathered at once, or a row of each example


def pad(x, margin: int):
  """Pads the axes of height and width, before that of channels."""
  return jnp.pad(x, [(0, 0)] * (x.ndim - 3) + [(margin, margin)] * 2 + [(0, 0)])


def im2col(x, rows: int, columns: int):
  """Returns the patch around each pixel that has one, [b oh ow rows*columns*c]."""
  height, width = x.shape[1] - rows + 1, x.shape[2] - columns + 1
  at = [(i, j) for i in range(rows) for j in range(columns)]
  return jnp.concatenate([x[:, i : i + height, j : j + width] for i, j in at], axis=-1)


def kernel_gradient(
  x: Float[Array, "b n h w c"],
  gradient: Float[Array, "b n oh ow d"],
  size: tuple[int, int],
) -> Float[Array, "kh kw c d"]:
  """Returns the gradient of the kernel that convolved `x`, an input with its margins.

  Multiplies patches, of some rows or images at once, by what belongs to each.
  They are those of the input, or of the gradient, if that has far fewer channels:
  outputs belong to the inputs below and to the right of them, inputs to the outputs
  above and to the left. The sum is in float32: it has many addends.
  """
  mirrored = 4 * gradient.shape[-1] <= x.shape[-1]
  few, many = x, gradient
  if mirrored:
    margins = [(0, 0), (0, 0), *((n - 1, n - 1) for n in size), (0, 0)]
    few, many = jnp.pad(gradient, margins), x
  batch, count, height, width, num = many.shape
  entries = size[0] * size[1] * few.shape[-1]
  fitting = max(1, _GATHERED // (batch * width * entries))  # rows of each
  rows, images = chunk_size(height, fitting), chunk_size(count, fitting // height)

  def of_example(few, many):
    def add_part(index, total):
      first = index // (height // rows) * images, index % (height // rows) * rows, 0, 0
      shape = (images, rows + size[0] - 1, *few.shape[2:])
      part = im2col(jax.lax.dynamic_slice(few, first, shape), *size)
      part = part.reshape(-1, entries)
      at = jax.lax.dynamic_slice(many, first, (images, rows, width, num))
      at = at.reshape(-1, num)
      # To transpose the smaller one takes half the time of the other.
      left, right = (at, part) if num <= entries else (part, at)
      return total + jnp.matmul(left.T, right, preferred_element_type=jnp.float32)

    zeros = jnp.zeros((min(num, entries), max(num, entries)), jnp.float32)
    return jax.lax.fori_loop(0, count * height // (images * rows), add_part, zeros)

  # Example by example, so that a batch may be split over devices.
  total = jax.vmap(of_example)(few, many).sum(axis=0)
  total = total.T if num <= entries else total
  total = total.reshape(*size, few.shape[-1], num)
  return total[::-1, ::-1].swapaxes(2, 3) if mirrored else total
