"""Layers of attention over space and over time, for videos [b t h w c].

Source: Ho et al. 2022 (2204.03458) in LFDM's form, with `num_heads` heads of `head_dim`
features at every level. One matrix projects to queries, keys and values, in this order,
heads before features. Layers return the residual *update*; the caller adds it.
"""

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from dabfusion_jax.models.blocks import bias_init, kernel_init
from dabfusion_jax.ops.attention import (
  AttentionWeights,
  linear_attention,
  softmax_attention,
)
from dabfusion_jax.ops.positions import NUM_BUCKETS, relative_buckets, split_pairs


class RelativePositionBias(nn.Module):
  """A learned scalar per head and bucket of frame distances, shared by all layers."""

  num_heads: int

  @nn.compact
  def __call__(self, num_frames: int) -> Float[Array, "n t t"]:
    shape = (NUM_BUCKETS, self.num_heads)
    table = self.param("table", nn.initializers.normal(1.0), shape)
    return jnp.moveaxis(table[relative_buckets(num_frames)], -1, 0)


class _Attention(nn.Module):
  """The fields and parameters that all layers share."""

  num_heads: int
  head_dim: int  # even: rotary embedding rotates pairs of features
  dtype: DTypeLike = jnp.float32  # of the computation; parameters stay float32

  def weights(self, channels: int) -> AttentionWeights:
    """Declares the parameters for an input of `channels` and returns them."""
    inner = self.num_heads * self.head_dim
    gain = self.param("norm", nn.initializers.ones, (channels,))
    qkv = self.param("qkv", kernel_init, (channels, 3 * inner))
    out = self.param("out", kernel_init, (inner, channels))
    qkv = qkv.reshape(channels, 3, self.num_heads, self.head_dim)
    return AttentionWeights(gain, qkv.astype(self.dtype), out.astype(self.dtype))


class TemporalAttention(_Attention):
  """Attention over frames; each pixel is a sequence of its own.

  Queries and keys have rotary embeddings, and the logits the shared relative bias.
  """

  @nn.compact
  def __call__(
    self, x: Float[Array, "b t h w c"], bias: Float[Array, "n t t"]
  ) -> Float[Array, "b t h w c"]:
    batch, num_frames, *_, channels = x.shape
    weights = self.weights(channels)
    query, key, value = jnp.moveaxis(weights.qkv, 1, 0)
    qkv = jnp.stack([split_pairs(query), split_pairs(key), value], axis=1)
    y = x.reshape(batch, num_frames, -1, channels).swapaxes(1, 2)
    y = softmax_attention(y, weights._replace(qkv=qkv), bias)
    return y.swapaxes(1, 2).reshape(x.shape)


class SpatialAttention(_Attention):
  """Softmax attention over the pixels of each frame, without position or bias."""

  @nn.compact
  def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t h w c"]:
    weights = self.weights(x.shape[-1])
    y = x.reshape(*x.shape[:2], -1, x.shape[-1])
    return softmax_attention(y, weights).reshape(x.shape)


class SpatialLinearAttention(_Attention):
  """Linear attention over the pixels of each frame (1812.01243)."""

  @nn.compact
  def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t h w c"]:
    weights = self.weights(x.shape[-1])
    bias = self.param("bias", bias_init(weights.out.shape[0]), x.shape[-1:])
    y = x.reshape(*x.shape[:2], -1, x.shape[-1])
    y = linear_attention(y, weights).reshape(x.shape)
    return y + bias.reshape(1, 1, 1, 1, -1).astype(y.dtype)
