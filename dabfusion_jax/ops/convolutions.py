"""Convolutions of images [b h w c] and of the frames of videos [b t h w c].

Video kernels have depth 1 in time, so frames are folded into the batch: equal to the
3-D convolution and up to 2.5 times as fast on CPU.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dabfusion_jax.ops.im2col import im2col, kernel_gradient, pad
from dabfusion_jax.ops.platform import forms

_LAYOUT = ("NHWC", "HWIO", "NHWC")
# Sizes at which XLA's CPU backend is slower than the forms below, as measured.
_TINY = 3  # pixels of a side, at most
_SMALL, _DEEP = 4, 512  # pixels of a side, at most, and input channels, at least
_LARGE = 64  # pixels of a side of an image, at least
_MEDIUM = 8  # pixels of a side of a frame, at least
_WIDE, _WIDEST = 500, 128 * 256  # input times output channels, at least and at most
_UPSAMPLED = 16  # pixels of a side before it is doubled, at least


def conv(
  x: Float[Array, "b h w c"],
  kernel: Float[Array, "kh kw c d"],
  *,
  stride: int = 1,
  padding: int,
) -> Float[Array, "b oh ow d"]:
  """Convolves images, with `padding` zeros on every side."""
  channels, features = kernel.shape[2:]
  side = max(x.shape[1:3])
  if stride == 1 and (side <= _TINY or (side <= _SMALL and channels >= _DEEP)):
    return conv_tiny(x, kernel, padding=padding)
  is_large = min(x.shape[1:3]) >= _LARGE
  if stride == 1 and is_large and (channels * features >= _WIDE or features <= 8):
    return conv_im2col(x[:, None], kernel, padding=padding)[:, 0]
  return _conv(x, kernel, stride=stride, padding=padding)


def _conv(x, kernel, *, stride: int = 1, padding: int):
  """Convolves by XLA's own operation."""
  return jax.lax.conv_general_dilated(
    x, kernel, (stride, stride), [(padding, padding)] * 2, dimension_numbers=_LAYOUT
  )


def _conv_as_product(
  x: Float[Array, "b h w c"], kernel: Float[Array, "kh kw c d"], *, padding: int
) -> Float[Array, "b oh ow d"]:
  """Gathers the patches (im2col) and multiplies them by the kernel as one matrix.

  On 2 x 2 maps of 1024 channels this is 40 times as fast as XLA's convolution, with
  which the innermost layers of two hourglasses took 42 % of a step of stage 1.
  """
  rows, columns = kernel.shape[:2]
  gathered = im2col(pad(x, padding), rows, columns)
  return gathered @ kernel.reshape(-1, kernel.shape[-1])


@forms(cpu=_conv_as_product)
def conv_tiny(x, kernel, *, padding: int):
  """Convolves feature maps of a few pixels with stride 1."""
  return _conv(x, kernel, padding=padding)


def _conv_each(x, kernel, padding):
  y = _conv(x.reshape(-1, *x.shape[2:]), kernel, padding=padding)
  return y.reshape(*x.shape[:2], *y.shape[1:])


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv_im2col(
  x: Float[Array, "b n h w c"], kernel: Float[Array, "kh kw c d"], padding: int
) -> Float[Array, "b n oh ow d"]:
  """Convolves; the gradient of the kernel is made of products.

  Has no derivatives in forward mode (`jax.jvp`).

  XLA takes it as a convolution by a kernel of the image's size, for which it transposes
  images and gradients: of 64 by 128 channels at 128 x 128 pixels it takes five times as
  long, of 64 by 3 channels eight times, of 24 by 24 at 16 x 16 half as long again.
  """
  return _conv_each(x, kernel, padding)


def _im2col_forward(x, kernel, padding):
  return _conv_each(x, kernel, padding), (x, kernel)


def _im2col_backward(padding, saved, gradient):
  x, kernel = saved
  of_x = jax.vjp(lambda x: _conv_each(x, kernel, padding), x)[1]
  of_kernel = kernel_gradient(pad(x, padding), gradient, kernel.shape[:2])
  return *of_x(gradient), of_kernel.astype(kernel.dtype)


_conv_im2col.defvjp(_im2col_forward, _im2col_backward)


@forms(cpu=_conv_im2col)
def conv_im2col(
  x: Float[Array, "b n h w c"], kernel: Float[Array, "kh kw c d"], padding: int
) -> Float[Array, "b n oh ow d"]:
  """Convolves the images of every example with stride 1."""
  return _conv_each(x, kernel, padding)


def _conv_by_phases(
  x: Float[Array, "b h w c"], kernel: Float[Array, "3 3 c d"]
) -> Float[Array, "b 2*h 2*w d"]:
  """Computes the outputs at even and odd rows and columns as channels of one map.

  Three rows of the larger image are two of the small one, one of them twice: a kernel
  of 2 x 2 entries, sums of those of `kernel`, does half of the work or less.
  """
  batch, height, width, _ = x.shape
  features = kernel.shape[-1]
  first = jnp.stack([kernel[0], kernel[1] + kernel[2]])  # even rows
  second = jnp.stack([kernel[0] + kernel[1], kernel[2]])
  kernel = jnp.stack([first, second], axis=-2)  # [2 3 c 2 d]
  first = jnp.stack([kernel[:, 0], kernel[:, 1] + kernel[:, 2]], axis=1)
  second = jnp.stack([kernel[:, 0] + kernel[:, 1], kernel[:, 2]], axis=1)
  kernel = jnp.stack([first, second], axis=-2)  # [2 2 c 2 2 d]
  y = _conv_im2col(x[:, None], kernel.reshape(*kernel.shape[:3], -1), 1)[:, 0]
  y = y.reshape(*y.shape[:3], *kernel.shape[3:])  # [b h+1 w+1 2 2 d]
  rows = [
    jnp.stack([y[:, r : r + height, c : c + width, r, c] for c in (0, 1)], axis=3)
    for r in (0, 1)
  ]
  return jnp.stack(rows, axis=2).reshape(batch, 2 * height, 2 * width, features)


@forms(cpu=_conv_by_phases)
def conv_upsampled_large(
  x: Float[Array, "b h w c"], kernel: Float[Array, "3 3 c d"]
) -> Float[Array, "b 2*h 2*w d"]:
  """Convolves images of many pixels, each repeated as a block of 2 x 2."""
  return _conv(upsample_nearest(x), kernel, padding=1)


def conv_upsampled(
  x: Float[Array, "b h w c"], kernel: Float[Array, "kh kw c d"]
) -> Float[Array, "b 2*h 2*w d"]:
  """Repeats every pixel as a block of 2 x 2, and convolves that, keeping its size.

  Raises:
    ValueError: the kernel is not one of 3 x 3 entries.
  """
  if kernel.shape[:2] != (3, 3):
    raise ValueError(f"Doubled images need a kernel of 3 x 3, not {kernel.shape[:2]}.")
  if min(x.shape[1:3]) >= _UPSAMPLED:
    return conv_upsampled_large(x, kernel)
  return conv(upsample_nearest(x), kernel, padding=1)


def upsample_nearest(x: Float[Array, "b h w c"]) -> Float[Array, "b 2*h 2*w c"]:
  """Repeats every pixel as a block of 2 x 2."""
  return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)


def conv_frames(
  x: Float[Array, "b t h w c"],
  kernel: Float[Array, "1 kh kw c d"],
  *,
  stride: int = 1,
  padding: int | None = None,
) -> Float[Array, "b t oh ow d"]:
  """Convolves every frame in the dtype of `x`.

  `padding` is in zeros on every side; None keeps the size of an odd kernel's input.
  """
  padding = kernel.shape[1] // 2 if padding is None else padding
  kernel = kernel[0].astype(x.dtype)
  is_wide = _WIDE <= kernel.shape[2] * kernel.shape[3] <= _WIDEST
  if stride == 1 and is_wide and min(x.shape[2:4]) >= _MEDIUM:
    return conv_im2col(x, kernel, padding=padding)
  y = conv(x.reshape(-1, *x.shape[2:]), kernel, stride=stride, padding=padding)
  return y.reshape(*x.shape[:2], *y.shape[1:])


def _conv_columns_as_channels(
  x: Float[Array, "b t h w c"], kernel: Float[Array, "1 k k c d"]
) -> Float[Array, "b t h w d"]:
  """Turns the columns of the kernel into input channels.

  A convolution over three channels leaves wide vector units idle.
  """
  size, width = kernel.shape[1], x.shape[3]
  margin = size // 2
  x = jnp.pad(x, ((0, 0), (0, 0), (margin, margin), (margin, margin), (0, 0)))
  x = jnp.concatenate([x[:, :, :, j : j + width] for j in range(size)], axis=-1)
  kernel = kernel.reshape(1, size, 1, -1, kernel.shape[-1])
  return conv_frames(x, kernel, padding=0)


@forms(cpu=_conv_columns_as_channels)
def conv_few_channels(
  x: Float[Array, "b t h w c"], kernel: Float[Array, "1 k k c d"]
) -> Float[Array, "b t h w d"]:
  """Convolves frames of a few channels and keeps their size, as `conv_frames` does."""
  return conv_frames(x, kernel)


def _conv_transpose_by_phases(
  x: Float[Array, "b t h w c"], kernel: Float[Array, "1 4 4 d c"]
) -> Float[Array, "b t oh ow d"]:
  """Computes the output pixels of even and odd rows and columns separately.

  Each of the four phases sees its own 2 x 2 entries of the kernel. The gradient of four
  ordinary convolutions is five times as fast as that of one dilated convolution.
  """
  batch, num_frames, height, width, channels = x.shape
  y = jnp.pad(x.reshape(-1, height, width, channels), ((0, 0), (1, 1), (1, 1), (0, 0)))
  kernel = jnp.swapaxes(kernel[0], 2, 3).astype(x.dtype)
  # Output row 2 i is input rows i - 1 and i times kernel rows 3 and 1; row 2 i + 1 is
  # input rows i and i + 1 times kernel rows 2 and 0. Columns likewise.
  entries = ((3, 1), (2, 0))

  def phase(row, column):
    part = jnp.stack([kernel[i] for i in entries[row]])
    part = jnp.stack([part[:, i] for i in entries[column]], axis=1)
    window = y[:, row : row + height + 1, column : column + width + 1]
    return conv(window, part, padding=0)

  rows = [jnp.stack([phase(row, 0), phase(row, 1)], axis=3) for row in (0, 1)]
  y = jnp.stack(rows, axis=2)  # [(b t) h 2 w 2 d]
  return y.reshape(batch, num_frames, 2 * height, 2 * width, -1)


@forms(cpu=_conv_transpose_by_phases)
def conv_transpose_frames(
  x: Float[Array, "b t h w c"], kernel: Float[Array, "1 4 4 d c"]
) -> Float[Array, "b t oh ow d"]:
  """Doubles the size of every frame by a transposed convolution, in the dtype of `x`.

  It is the adjoint of `conv_frames` with the same kernel, stride 2 and padding 1; the
  kernel is stored as (1, 4, 4, out, in).
  """
  y = jax.lax.conv_transpose(
    x.reshape(-1, *x.shape[2:]),
    kernel[0].astype(x.dtype),
    (2, 2),
    "SAME",
    dimension_numbers=_LAYOUT,
    transpose_kernel=True,
  )
  return y.reshape(*x.shape[:2], *y.shape[1:])
