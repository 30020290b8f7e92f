"""The denoiser: a U-Net of noisy latent flow, conditioned on picture, music and beats.

The architecture of Ho et al. 2022 (2204.03458) with LFDM's changes. All kernels have
depth 1 in time: frames interact in temporal attention and in the statistics of the
group norm only.
"""

from collections.abc import Callable, Mapping

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from dabfusion_jax.models.attention import (
  RelativePositionBias,
  SpatialAttention,
  SpatialLinearAttention,
  TemporalAttention,
)
from dabfusion_jax.models.blocks import bias_init, kernel_init
from dabfusion_jax.models.conditioning import (
  BEAT_MODES,
  BeatEmbedding,
  TimeEmbedding,
)
from dabfusion_jax.models.frame_blocks import (
  FrameConv,
  FrameConvTranspose,
  ResidualBlock,
)
from dabfusion_jax.ops.convolutions import conv_few_channels, conv_frames
from dabfusion_jax.ops.pooling import average_pool

FLOW_CHANNELS = 3  # flow x, flow y, occlusion


class Level(nn.Module):
  """Two residual blocks, linear attention over space, softmax attention over time."""

  features: int
  num_groups: int
  num_heads: int
  head_dim: int
  dtype: DTypeLike

  @nn.compact
  def __call__(
    self,
    x: Float[Array, "b t h w c"],
    embedding: Float[Array, "b f e"],
    bias: Float[Array, "n t t"],
  ) -> Float[Array, "b t h w d"]:
    heads = (self.num_heads, self.head_dim, self.dtype)
    for i in range(2):
      block = ResidualBlock(self.features, self.num_groups, name=f"block_{i}")
      x = block(x, embedding)
    x = x + SpatialLinearAttention(*heads, name="spatial")(x)
    return x + TemporalAttention(*heads, name="temporal")(x, bias)


class Head(nn.Module):
  """A residual block without modulation, then a 1 x 1 convolution with float32 sums.

  Rounding them to bfloat16 would add an error of 1/256 to the prediction, and of 1/256
  over the signal rate to x0.
  """

  hidden_features: int
  features: int
  num_groups: int

  @nn.compact
  def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t h w d"]:
    x = ResidualBlock(self.hidden_features, self.num_groups, name="block")(x)
    return FrameConv(self.features, kernel_size=1, name="conv")(x.astype(jnp.float32))


class InputConv(nn.Module):
  """The first convolution (1, 7, 7), split into its parts for x_t and z.

  Convolution is linear, conv([x_t, z]) = conv(x_t) + conv(z), and the part of z is the
  same in every frame and at every sampling step. The kernel covers all channels in this
  order; the bias belongs to the part of z.
  """

  features: int
  z_channels: int

  @nn.compact
  def __call__(
    self,
    x: Float[Array, "b t h w 3"],
    z: Float[Array, "bz h w cz"] | None,
    z_term: Float[Array, "bz 1 h w d"] | None,
  ) -> Float[Array, "b t h w d"]:
    channels = FLOW_CHANNELS + self.z_channels
    shape = (1, 7, 7, channels, self.features)
    kernel = self.param("kernel", kernel_init, shape)
    bias = self.param("bias", bias_init(49 * channels), (self.features,))
    if z_term is None:
      z_term = input_conv_z_term(kernel, bias, z.astype(x.dtype))
    # Consecutive examples may share a picture: [cond, null] of guidance.
    z_term = jnp.repeat(z_term, x.shape[0] // z_term.shape[0], axis=0)
    flow_kernel = kernel[..., :FLOW_CHANNELS, :]
    return conv_few_channels(x, flow_kernel) + z_term.astype(x.dtype)


def input_conv_z_term(
  kernel: Float[Array, "1 7 7 c d"],
  bias: Float[Array, "d"],
  z: Float[Array, "bz h w cz"],
) -> Float[Array, "bz 1 h w d"]:
  """Computes the part of z in the first convolution, bias included."""
  kernel = kernel[..., FLOW_CHANNELS:, :]
  return conv_frames(z[:, None], kernel) + bias.reshape(1, 1, 1, 1, -1).astype(z.dtype)


class UNet3D(nn.Module):
  """Predicts the noise in a clip's latent flow.

  With the paper's settings (the defaults) and a condition of 512 elements it has
  40,699,587 parameters; each further element adds 7,936.

  Attributes:
    base_channels: width of the first level; the time embedding has 4 times as many.
    channel_multipliers: width of each level over `base_channels`. Every level but the
      last halves the size, so sizes must be multiples of 2^(levels - 1).
    z_channels: channels of the picture's latent z.
    z_pool: cells of z per cell of flow and side; z is averaged over them.
    num_heads, head_dim: of every attention layer, whatever the level's width.
    num_groups: of every group norm; must divide the widths.
    beat_mode: one of `conditioning.BEAT_MODES`. With "per_frame_film" beat features
      are added to the time embedding of their frame; with the others beats are part of
      `condition` or absent, which is the same to the network.
    remat: whether to recompute each level in the backward pass, to save memory.
    constrain: applied to the activations after every level and resampling: a sharding
      constraint to the batch axes. Without one, XLA gathers the global batch at the
      transposed convolutions.
    dtype: of the computation; parameters, statistics and softmax remain float32.
  """

  base_channels: int = 64
  channel_multipliers: tuple[int, ...] = (1, 2, 4, 8)
  z_channels: int = 256
  z_pool: int = 1
  num_heads: int = 8
  head_dim: int = 32
  num_groups: int = 8
  beat_mode: str = "global_concat"
  remat: bool = False
  constrain: Callable[[Array], Array] = lambda x: x
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(
    self,
    x_t: Float[Array, "b t h w 3"],
    timestep: Int[Array, "b"],
    z: Float[Array, "bz zh zw cz"] | None,
    condition: Float[Array, "b d"],
    frame_condition: Float[Array, "b t f"] | None = None,
    z_term: Float[Array, "bz 1 h w base"] | None = None,
  ) -> Float[Array, "b t h w 3"]:
    """Returns the prediction for (flow x, flow y, occlusion) in float32.

    Args:
      x_t: noisy latent flow.
      timestep: in [0, num_timesteps).
      z: latents of the pictures; b / bz consecutive clips share a picture.
      condition: music, with "global_concat" also beats.
      frame_condition: beat features; given if and only if `beat_mode` is
        "per_frame_film".
      z_term: result of `UNet3D.z_term`, in place of `z`.

    Raises:
      ValueError: sizes or arguments do not fit the attributes.
    """
    self._check(x_t, z, z_term, frame_condition)
    base = self.base_channels
    widths = [base * m for m in self.channel_multipliers]
    heads = (self.num_heads, self.head_dim, self.dtype)
    level_class = nn.remat(Level) if self.remat else Level
    level = lambda features, name: level_class(
      features, self.num_groups, *heads, name=name
    )

    embedding = TimeEmbedding(base, 4 * base, name="time")(timestep)[:, None]
    if self.beat_mode == "per_frame_film":
      embedding += BeatEmbedding(base, 4 * base, name="beats")(frame_condition)
    condition = jnp.broadcast_to(
      condition[:, None], (*embedding.shape[:2], condition.shape[-1])
    )
    embedding = jnp.concatenate([embedding, condition], axis=-1)
    bias = RelativePositionBias(self.num_heads, name="rel_bias")(x_t.shape[1])

    z = None if z is None else average_pool(z, self.z_pool)
    x = InputConv(base, self.z_channels, name="input_conv")(
      x_t.astype(self.dtype), z, z_term
    )
    long_skip = x
    x = x + TemporalAttention(*heads, name="input_temporal")(x, bias)
    x = self.constrain(x)

    skips = []
    for i, width in enumerate(widths):
      x = self.constrain(level(width, f"down_{i}")(x, embedding, bias))
      skips.append(x)
      if i < len(widths) - 1:
        resample = FrameConv(width, kernel_size=4, stride=2, name=f"downsample_{i}")
        x = self.constrain(resample(x))

    x = ResidualBlock(x.shape[-1], self.num_groups, name="mid_block_0")(x, embedding)
    x = x + SpatialAttention(*heads, name="mid_spatial")(x)
    x = x + TemporalAttention(*heads, name="mid_temporal")(x, bias)
    x = ResidualBlock(x.shape[-1], self.num_groups, name="mid_block_1")(x, embedding)
    x = self.constrain(x)

    for i, width in enumerate(reversed([base] + widths[:-1])):
      x = jnp.concatenate([x, skips.pop()], axis=-1)
      x = self.constrain(level(width, f"up_{i}")(x, embedding, bias))
      if i < len(widths) - 1:
        x = self.constrain(FrameConvTranspose(name=f"upsample_{i}")(x))

    x = jnp.concatenate([x, long_skip], axis=-1)
    flow = Head(base, 2, self.num_groups, name="flow_head")(x)
    occlusion = Head(base, 1, self.num_groups, name="occlusion_head")(x)
    return jnp.concatenate([flow, occlusion], axis=-1)

  @nn.nowrap
  def z_term(
    self, params: Mapping, z: Float[Array, "bz zh zw cz"]
  ) -> Float[Array, "bz 1 h w base"]:
    """Computes the part of the network that depends on nothing but the picture.

    It is the same at all sampling steps: compute it once per clip.

    Args:
      params: `variables["params"]`.
      z: latents of the pictures.
    """
    params = params["input_conv"]
    z = average_pool(z, self.z_pool).astype(self.dtype)
    return input_conv_z_term(params["kernel"], params["bias"], z)

  def _check(self, x_t, z, z_term, frame_condition):
    factor = 2 ** (len(self.channel_multipliers) - 1)
    if x_t.shape[2] % factor or x_t.shape[3] % factor:
      raise ValueError(
        f"{len(self.channel_multipliers)} levels need latent sizes divisible by"
        f" {factor}, got {x_t.shape[2:4]}."
      )
    if (z is None) == (z_term is None):
      raise ValueError("The U-Net takes either `z` or `z_term`.")
    if z is not None and z.shape[-1] != self.z_channels:
      raise ValueError(
        f"z has {z.shape[-1]} channels, but z_channels is {self.z_channels}."
      )
    num_pictures = len(z_term if z is None else z)
    if len(x_t) % num_pictures:
      raise ValueError(f"{len(x_t)} clips do not share {num_pictures} pictures evenly.")
    if self.beat_mode not in BEAT_MODES:
      raise ValueError(
        f"Unknown beat_mode {self.beat_mode!r}; expected one of {BEAT_MODES}."
      )
    if (self.beat_mode == "per_frame_film") != (frame_condition is not None):
      raise ValueError(
        f"beat_mode {self.beat_mode!r} and frame_condition"
        f" {'absent' if frame_condition is None else 'given'} do not go together."
      )
