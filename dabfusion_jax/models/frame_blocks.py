"""Blocks of the denoiser on BTHWC videos: convolutions, norm, residual block.

All kernels have depth 1 in time, so frames are folded into the batch for every
convolution; and unfolded for the group norm, which pools over the frames of a clip.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from dabfusion_jax.models.blocks import bias_init, kernel_init


def conv_frames(
  x: Float[Array, "b t h w c"],
  kernel: Float[Array, "1 kh kw c d"],
  stride: int = 1,
  padding: int | None = None,
) -> Float[Array, "b t oh ow d"]:
  """Convolves every frame, in the dtype of `x`; 'same' padding unless told.

  As a 2-D convolution with frames folded into the batch: equal to the 3-D one and, on
  CPU, up to 2.5 times as fast.
  """
  size = kernel.shape[1]
  padding = size // 2 if padding is None else padding
  y = x.reshape(-1, *x.shape[2:])
  y = jax.lax.conv_general_dilated(
    y,
    kernel[0].astype(x.dtype),
    (stride, stride),
    [(padding, padding)] * 2,
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )
  return y.reshape(*x.shape[:2], *y.shape[1:])


def conv_transpose_frames(
  x: Float[Array, "b t h w c"], kernel: Float[Array, "1 4 4 d c"]
) -> Float[Array, "b t oh ow d"]:
  """Transposed 4 x 4 convolution of stride 2, padding 1 (adjoint of the strided one).

  The kernel is stored as (1, 4, 4, out, in). Output pixels of even and of odd rows and
  columns each see their own 2 x 2 kernel entries: four ordinary convolutions, whose
  gradient on CPU is five times as fast as that of the dilated form.
  """
  batch, num_frames, height, width, channels = x.shape
  y = jnp.pad(x.reshape(-1, height, width, channels), ((0, 0), (1, 1), (1, 1), (0, 0)))
  kernel = jnp.swapaxes(kernel[0], 2, 3).astype(x.dtype)
  # Row 2 i reads inputs i - 1 and i by entries 3 and 1, row 2 i + 1 reads i and i + 1
  # by entries 2 and 0; columns alike.
  entries = ((3, 1), (2, 0))

  def phase(row, column):
    part = jnp.stack([kernel[i] for i in entries[row]])
    part = jnp.stack([part[:, i] for i in entries[column]], axis=1)
    window = y[:, row : row + height + 1, column : column + width + 1]
    return jax.lax.conv_general_dilated(
      window, part, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )

  rows = [jnp.stack([phase(row, 0), phase(row, 1)], axis=3) for row in (0, 1)]
  y = jnp.stack(rows, axis=2)  # [(b t) h 2 w 2 d]
  return y.reshape(batch, num_frames, 2 * height, 2 * width, -1)


def conv_few_channels(
  x: Float[Array, "b t h w c"], kernel: Float[Array, "1 k k c d"]
) -> Float[Array, "b t h w d"]:
  """`conv_frames` for a few channels: the columns of the kernel become channels.

  Convolutions of three channels leave wide arithmetic units idle.
  """
  size, width = kernel.shape[1], x.shape[3]
  margin = size // 2
  x = jnp.pad(x, ((0, 0), (0, 0), (margin, margin), (margin, margin), (0, 0)))
  x = jnp.concatenate([x[:, :, :, j : j + width] for j in range(size)], axis=-1)
  kernel = kernel.reshape(1, size, 1, -1, kernel.shape[-1])
  return conv_frames(x, kernel, padding=0)


def group_norm(
  x: Float[Array, "b t h w c"],
  gain: Float[Array, "b f 1 1 c"],
  bias: Float[Array, "b f 1 1 c"],
  num_groups: int,
) -> Float[Array, "b t h w c"]:
  """Group norm pooled over the frames, then `gain` and `bias` (f is 1 or t).

  One pass of sums, then a single multiply-and-add per element, both in float32, which
  is also the dtype of the result.
  """
  batch, *sizes, channels = x.shape
  wide = x.astype(jnp.float32)
  moments = jnp.stack([wide.mean((1, 2, 3)), jnp.square(wide).mean((1, 2, 3))])
  moments = moments.reshape(2, batch, num_groups, -1).mean(-1, keepdims=True)
  mean, square = jnp.broadcast_to(
    moments, (2, batch, num_groups, channels // num_groups)
  ).reshape(2, batch, 1, 1, 1, channels)
  gain = gain * jax.lax.rsqrt(jnp.maximum(square - mean**2, 0.0) + 1e-5)
  bias = bias - gain * mean
  return wide * gain + bias


class FrameConv(nn.Module):
  """Convolution (1, k, k) with bias; `stride` 2 halves the size (k = 4, padding 1)."""

  features: int
  kernel_size: int = 3
  stride: int = 1

  @nn.compact
  def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t oh ow d"]:
    size, channels = self.kernel_size, x.shape[-1]
    shape = (1, size, size, channels, self.features)
    kernel = self.param("kernel", kernel_init, shape)
    bias = self.param("bias", bias_init(size**2 * channels), (self.features,))
    bias = bias.reshape(1, 1, 1, 1, -1).astype(x.dtype)
    if size == 1:
      return jnp.dot(x, kernel[0, 0, 0].astype(x.dtype)) + bias
    padding = 1 if self.stride == 2 else None
    return conv_frames(x, kernel, self.stride, padding) + bias


class FrameConvTranspose(nn.Module):
  """Doubles the size by a transposed convolution (1, 4, 4) with bias."""

  @nn.compact
  def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t oh ow c"]:
    channels = x.shape[-1]
    kernel = self.param("kernel", kernel_init, (1, 4, 4, channels, channels))
    bias = self.param("bias", bias_init(16 * channels), (channels,))
    bias = bias.reshape(1, 1, 1, 1, -1).astype(x.dtype)
    return conv_transpose_frames(x, kernel) + bias


class NormSilu(nn.Module):
  """Group norm, optional modulation x (1 + scale) + shift, then SiLU."""

  num_groups: int

  @nn.compact
  def __call__(
    self,
    x: Float[Array, "b t h w c"],
    modulation: Float[Array, "b f d"] | None = None,
  ) -> Float[Array, "b t h w c"]:
    channels = x.shape[-1]
    if channels % self.num_groups:
      raise ValueError(f"{channels} channels do not split in {self.num_groups} groups.")
    gain = self.param("scale", nn.initializers.ones, (channels,))
    bias = self.param("bias", nn.initializers.zeros, (channels,))
    gain, bias = (
      jnp.broadcast_to(p.reshape(1, 1, 1, 1, -1), (x.shape[0], 1, 1, 1, channels))
      for p in (gain, bias)
    )
    if modulation is not None:
      scale, shift = jnp.split(modulation[:, :, None, None], 2, axis=-1)
      gain, bias = gain * (1 + scale), bias * (1 + scale) + shift
    y = group_norm(x, gain, bias, self.num_groups)
    return nn.silu(y).astype(x.dtype)


class ResidualBlock(nn.Module):
  """Twice (conv 3 x 3, group norm, SiLU), the first modulated; plus its input.

  (scale, shift) is a linear function of SiLU(embedding), scale first. Where widths
  differ the input passes a 1 x 1 convolution. With f = 1 the modulation is one per
  clip, with f = t one per frame.
  """

  features: int
  num_groups: int

  @nn.compact
  def __call__(
    self,
    x: Float[Array, "b t h w c"],
    embedding: Float[Array, "b f e"] | None = None,
  ) -> Float[Array, "b t h w d"]:
    modulation = None
    if embedding is not None:
      modulation = nn.Dense(
        2 * self.features,
        kernel_init=kernel_init,
        bias_init=bias_init(embedding.shape[-1]),
        name="modulation",
      )(nn.silu(embedding))
    y = FrameConv(self.features, name="conv_0")(x)
    y = NormSilu(self.num_groups, name="norm_0")(y, modulation)
    y = FrameConv(self.features, name="conv_1")(y)
    y = NormSilu(self.num_groups, name="norm_1")(y)
    if x.shape[-1] != self.features:
      x = FrameConv(self.features, kernel_size=1, name="shortcut")(x)
    return x + y
