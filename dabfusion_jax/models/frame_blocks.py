"""Blocks of the denoiser on videos [b t h w c]: convolutions, norm, residual block.

All kernels have depth 1 in time. Frames meet in the statistics of the group norm, which
pools over the frames of a clip.
"""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from dabfusion_jax.models.blocks import bias_init, kernel_init
from dabfusion_jax.ops.convolutions import conv_frames, conv_transpose_frames
from dabfusion_jax.ops.norms import group_norm


class FrameConv(nn.Module):
  """Convolution (1, k, k) with bias; `stride` 2 with k = 4 halves the size."""

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
    return conv_frames(x, kernel, stride=self.stride, padding=padding) + bias


class FrameConvTranspose(nn.Module):
  """Doubles the size by a transposed convolution (1, 4, 4) with bias."""

  @nn.compact
  def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t oh ow c"]:
    channels = x.shape[-1]
    kernel = self.param("kernel", kernel_init, (1, 4, 4, channels, channels))
    bias = self.param("bias", bias_init(16 * channels), (channels,))
    bias = bias.reshape(1, 1, 1, 1, -1).astype(x.dtype)
    return conv_transpose_frames(x, kernel) + bias


# A scale and a shift, per clip (f = 1) or per frame (f = t).
ScaleAndShift = tuple[Float[Array, "b f 1 1 c"], Float[Array, "b f 1 1 c"]]


class Modulation(nn.Module):
  """Returns a scale and a shift that are linear in SiLU(embedding)."""

  features: int

  @nn.compact
  def __call__(self, embedding: Float[Array, "b f e"]) -> ScaleAndShift:
    size = embedding.shape[-1]
    kernel = self.param("kernel", kernel_init, (size, 2 * self.features))
    bias = self.param("bias", bias_init(size), (2 * self.features,))
    y = nn.silu(embedding) @ kernel
    # Split before the bias is added: split after it, XLA on CPUs repeats both for each
    # pixel that they modulate, which takes longer than the norm.
    scale, shift = (
      part[:, :, None, None] + bias.reshape(1, 1, 1, 1, -1)
      for part, bias in zip(jnp.split(y, 2, axis=-1), jnp.split(bias, 2), strict=True)
    )
    return scale, shift


class NormSilu(nn.Module):
  """Group norm, an optional modulation x (1 + scale) + shift, then SiLU."""

  num_groups: int

  @nn.compact
  def __call__(
    self,
    x: Float[Array, "b t h w c"],
    modulation: ScaleAndShift | None = None,
  ) -> Float[Array, "b t h w c"]:
    channels = x.shape[-1]
    if channels % self.num_groups:
      raise ValueError(
        f"{channels} channels do not divide into {self.num_groups} groups."
      )
    gain = self.param("scale", nn.initializers.ones, (channels,))
    bias = self.param("bias", nn.initializers.zeros, (channels,))
    gain, bias = (
      jnp.broadcast_to(p.reshape(1, 1, 1, 1, -1), (x.shape[0], 1, 1, 1, channels))
      for p in (gain, bias)
    )
    if modulation is not None:
      scale, shift = modulation
      gain, bias = gain * (1 + scale), bias * (1 + scale) + shift
    y = group_norm(x, gain, bias, self.num_groups)
    return nn.silu(y).astype(x.dtype)


class ResidualBlock(nn.Module):
  """Residual block: twice convolution 3 x 3, group norm, SiLU; the first modulated.

  The modulation is per clip if f = 1, per frame if f = t. If the widths differ, the
  input passes a 1 x 1 convolution.
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
      modulation = Modulation(self.features, name="modulation")(embedding)
    y = FrameConv(self.features, name="conv_0")(x)
    y = NormSilu(self.num_groups, name="norm_0")(y, modulation)
    y = FrameConv(self.features, name="conv_1")(y)
    y = NormSilu(self.num_groups, name="norm_1")(y)
    if x.shape[-1] != self.features:
      x = FrameConv(self.features, kernel_size=1, name="shortcut")(x)
    return x + y
