"""Attention over space and over time, as residual pre-norm layers on BTHWC videos.

Source: Ho et al. 2022 (2204.03458) in the form LFDM gave it; `num_heads` heads of
`head_dim` features at every level. One matrix gives query, key and value, in this
order, heads major. Layers return the *update*; the caller adds it to its input.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from dabfusion_jax.models.blocks import bias_init, kernel_init

NUM_BUCKETS = 32
# T5's bidirectional map for 32 buckets and distances up to 32, one entry a distance;
# beyond the last entry the bucket stays. Written out because distance 16 falls exactly
# on a boundary of the logarithm, where float32 rounds to the wrong side.
_DISTANCE_BUCKET = np.array(
  [0, 1, 2, 3, 4, 5, 6, 7]
  + [8, 8, 9, 9, 10, 10, 11, 11]
  + [12, 12, 12, 12, 13, 13, 13, 14, 14, 14, 14, 15]
)


def relative_buckets(num_frames: int) -> Int[np.ndarray, "t t"]:
  """Bucket of every (query, key) pair of frames; keys after the query add 16."""
  frames = np.arange(num_frames)
  distance = frames[None, :] - frames[:, None]  # key - query
  last = len(_DISTANCE_BUCKET) - 1
  bucket = _DISTANCE_BUCKET[np.minimum(np.abs(distance), last)]
  return bucket + np.where(distance > 0, NUM_BUCKETS // 2, 0)


class RelativePositionBias(nn.Module):
  """A learned scalar per head and bucket of frame distance, shared by all layers."""

  num_heads: int

  @nn.compact
  def __call__(self, num_frames: int) -> Float[Array, "n t t"]:
    shape = (NUM_BUCKETS, self.num_heads)
    table = self.param("table", nn.initializers.normal(1.0), shape)
    return jnp.moveaxis(table[relative_buckets(num_frames)], -1, 0)


class ChannelLayerNorm(nn.Module):
  """Layer norm over channels with a gain and no bias; statistics in float32."""

  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b c"]:
    gain = self.param("gain", nn.initializers.ones, x.shape[-1:])
    x = x.astype(jnp.float32)
    x = x - x.mean(-1, keepdims=True)
    x = x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + 1e-5)
    return (x * gain.reshape((1,) * (x.ndim - 1) + (-1,))).astype(self.dtype)


def rotate(x: Float[Array, "*b t d"]) -> Float[Array, "*b t d"]:
  """Rotary position embedding (2104.09864) on features in half-split order.

  The pair (i, i + d/2) is turned by frame * 10000^(-2i/d). Queries and keys meet only
  in their product, so a common order of the features is free; `split_pairs` brings the
  interleaved pairs (2i, 2i + 1) of the parameters into this one.
  """
  num_frames, size = x.shape[-2:]
  frequency = 10000.0 ** (-np.arange(0, size, 2) / size)
  angle = np.arange(num_frames)[:, None] * frequency
  table = lambda f: jnp.asarray(np.tile(f(angle), 2), x.dtype).reshape(
    (1,) * (x.ndim - 2) + (num_frames, size)
  )
  turned = jnp.concatenate([-x[..., size // 2 :], x[..., : size // 2]], axis=-1)
  return x * table(np.cos) + turned * table(np.sin)


def split_pairs(kernel: Float[Array, "c n d"]) -> Float[Array, "c n d"]:
  """Moves features (0, 1, 2, 3, ...) to the order (0, 2, ..., 1, 3, ...)."""
  return jnp.concatenate([kernel[..., ::2], kernel[..., 1::2]], axis=-1)


def softmax(logits: Float[Array, "*b"], dtype: DTypeLike) -> Float[Array, "*b"]:
  """Softmax over the last axis in float32, returned in `dtype`."""
  return jax.nn.softmax(logits.astype(jnp.float32), axis=-1).astype(dtype)


class TemporalAttention(nn.Module):
  """Attention over frames; each pixel is its own sequence.

  Rotary embedding on queries and keys, then the shared relative bias on the logits.
  """

  num_heads: int
  head_dim: int  # even: rotary turns pairs of features
  dtype: DTypeLike = jnp.float32  # of the computation; params stay float32

  @nn.compact
  def __call__(
    self, x: Float[Array, "b t h w c"], bias: Float[Array, "n t t"]
  ) -> Float[Array, "b t h w c"]:
    batch, num_frames, height, width, channels = x.shape
    heads = (self.num_heads, self.head_dim)
    kernel = _qkv_kernel(self, channels).reshape(channels, 3, *heads)
    query, key, value = jnp.moveaxis(kernel, 1, 0)
    kernel = jnp.stack([split_pairs(query), split_pairs(key), value], axis=1)

    y = ChannelLayerNorm(dtype=self.dtype, name="norm")(x)
    y = y.reshape(batch, num_frames, height * width, channels).swapaxes(1, 2)
    y = jnp.dot(y, kernel.reshape(channels, -1).astype(self.dtype))
    # An explicit transpose to (pixel, head, time, dim): several times faster on CPU
    # than leaving the order to the contraction.
    y = y.reshape(batch, height * width, num_frames, 3, *heads)
    q, k, v = jnp.transpose(y, (3, 0, 1, 4, 2, 5))
    q = rotate(q * self.head_dim**-0.5)
    logits = jnp.einsum("bpntd,bpnsd->bpnts", q, rotate(k))
    weights = softmax(logits + bias[None, None].astype(logits.dtype), self.dtype)
    y = jnp.einsum("bpnts,bpnsd->bpntd", weights, v)
    y = jnp.swapaxes(y, 2, 3).reshape(batch, height * width, num_frames, -1)
    y = nn.Dense(
      channels,
      use_bias=False,
      kernel_init=kernel_init,
      dtype=self.dtype,
      name="out",
    )(y)
    return y.swapaxes(1, 2).reshape(x.shape)


class SpatialAttention(nn.Module):
  """Softmax attention over the pixels of each frame, without positions or biases."""

  num_heads: int
  head_dim: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t h w c"]:
    q, k, v = _frame_heads(self, x)
    logits = jnp.einsum("bnpd,bnqd->bnpq", q * self.head_dim**-0.5, k)
    y = jnp.einsum("bnpq,bnqd->bnpd", softmax(logits, self.dtype), v)
    y = y.swapaxes(1, 2).reshape(*x.shape[:-1], -1)
    return nn.Dense(
      x.shape[-1],
      use_bias=False,
      kernel_init=kernel_init,
      dtype=self.dtype,
      name="out",
    )(y)


class SpatialLinearAttention(nn.Module):
  """Linear attention over the pixels of each frame (1812.01243).

  Queries are normalised over features, keys over pixels; their product with the values
  is a d x d matrix a head, so the cost is linear in the number of pixels.
  """

  num_heads: int
  head_dim: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t h w c"]:
    q, k, v = _frame_heads(self, x)
    q = softmax(q, self.dtype) * self.head_dim**-0.5
    k = jax.nn.softmax(k.astype(jnp.float32), axis=-2).astype(self.dtype)
    context = jnp.einsum("bnpd,bnpe->bnde", k, v)
    y = jnp.einsum("bnpd,bnde->bnpe", q, context)
    y = y.swapaxes(1, 2).reshape(*x.shape[:-1], -1)
    return nn.Dense(
      x.shape[-1],
      kernel_init=kernel_init,
      bias_init=bias_init(y.shape[-1]),
      dtype=self.dtype,
      name="out",
    )(y)


def _qkv_kernel(module: nn.Module, channels: int) -> Array:
  size = 3 * module.num_heads * module.head_dim
  return module.param("qkv", kernel_init, (channels, size))


def _frame_heads(module: nn.Module, x: Array) -> Array:
  """Normalises and projects; [3 (b t) n (h w) d], the fast order on CPU."""
  batch, num_frames, height, width, _ = x.shape
  heads = (module.num_heads, module.head_dim)
  y = ChannelLayerNorm(dtype=module.dtype, name="norm")(x)
  y = jnp.dot(y, _qkv_kernel(module, x.shape[-1]).astype(module.dtype))
  y = y.reshape(batch * num_frames, height * width, 3, *heads)
  return jnp.transpose(y, (2, 0, 3, 1, 4))
