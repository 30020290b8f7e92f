"""Attention over space and over time, as residual pre-norm layers on BTHWC videos.

Source: Ho et al. 2022 (2204.03458) in the form LFDM gave it; `num_heads` heads of
`head_dim` features at every level. One matrix gives query, key and value, in this
order, heads major. Layers return the *update*; the caller adds it to its input.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from dabfusion_jax.models.blocks import bias_init, kernel_init

_CHUNK_FLOATS = 2**19  # about one core's cache
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


def layer_norm(
  x: Float[Array, "*b c"], gain: Float[Array, "c"]
) -> Float[Array, "*b c"]:
  """Layer norm over channels with a gain and no bias; computed in float32."""
  wide = x.astype(jnp.float32)
  wide = wide - wide.mean(-1, keepdims=True)
  wide = wide * jax.lax.rsqrt(jnp.square(wide).mean(-1, keepdims=True) + 1e-5)
  return (wide * gain.reshape((1,) * (x.ndim - 1) + (-1,))).astype(x.dtype)


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


def attend(
  q: Float[Array, "*b t d"],
  k: Float[Array, "*b s d"],
  v: Float[Array, "*b s d"],
  bias: Float[Array, "n t s"] | None = None,
) -> Float[Array, "*b t d"]:
  """softmax(q k^T / sqrt(d) + bias) v; the softmax in float32.

  Divided by the softmax's denominator last, where there are d numbers a row, not s.
  """
  logits = jnp.einsum("...td,...sd->...ts", q * q.shape[-1] ** -0.5, k)
  logits = logits.astype(jnp.float32)
  if bias is not None:
    logits += bias.reshape((1,) * (logits.ndim - 3) + bias.shape)
  largest = jax.lax.stop_gradient(logits.max(-1, keepdims=True))
  weights = jnp.exp(logits - largest)
  total = weights.sum(-1, keepdims=True)
  y = jnp.einsum("...ts,...sd->...td", weights.astype(v.dtype), v)
  return (y / total).astype(v.dtype)


def map_sequences(
  layer: Callable[[Array], Array],
  x: Float[Array, "b m s c"],
  floats_per_sequence: int,
) -> Float[Array, "b m s c"]:
  """layer(x) for a layer that treats the m sequences of each example alike.

  Intermediate arrays, many times larger than x, are recomputed in the backward pass
  rather than stored. On CPU the sequences are also taken in chunks that stay in the
  cache, which makes training about twice as fast; elsewhere all at once.
  """
  batch, count = x.shape[:2]
  fitting = max(1, _CHUNK_FLOATS // (batch * floats_per_sequence))
  size = max(n for n in range(1, min(count, fitting) + 1) if count % n == 0)

  def chunked(x):
    if size == count:
      return layer(x)
    chunks = x.reshape(batch, -1, size, *x.shape[2:]).swapaxes(0, 1)
    # Remat inside the loop as well: a loop stores what its body would.
    y = jax.lax.map(jax.checkpoint(layer), chunks)
    return y.swapaxes(0, 1).reshape(x.shape)

  run = lambda x: jax.lax.platform_dependent(x, cpu=chunked, default=layer)
  return jax.checkpoint(run)(x)


class _Attention(nn.Module):
  """Fields and parameters common to the layers."""

  num_heads: int
  head_dim: int  # even: rotary turns pairs of features
  dtype: DTypeLike = jnp.float32  # of the computation; params stay float32

  def parameters(self, channels: int) -> tuple[Array, Array, Array]:
    """Gain [c] of the norm, kernels [c 3 n d] to q, k, v and [(n d) c] back."""
    inner = self.num_heads * self.head_dim
    gain = self.param("norm", nn.initializers.ones, (channels,))
    qkv = self.param("qkv", kernel_init, (channels, 3 * inner))
    out = self.param("out", kernel_init, (inner, channels))
    qkv = qkv.reshape(channels, 3, self.num_heads, self.head_dim)
    return gain, qkv.astype(self.dtype), out.astype(self.dtype)


def project_heads(
  x: Float[Array, "b m s c"], gain: Float[Array, "c"], qkv: Float[Array, "c 3 n d"]
) -> Float[Array, "3 b m n s d"]:
  """Normalises and projects to q, k, v.

  With an explicit transpose to (sequence, head, position, dim), several times faster on
  CPU than to leave the order to the contractions.
  """
  y = jnp.dot(layer_norm(x, gain), qkv.reshape(qkv.shape[0], -1))
  return jnp.transpose(y.reshape(*x.shape[:-1], *qkv.shape[1:]), (3, 0, 1, 4, 2, 5))


def merge_heads(
  y: Float[Array, "b m n s d"], out: Float[Array, "nd c"]
) -> Float[Array, "b m s c"]:
  """Inverse of the transpose, and the output projection."""
  y = y.swapaxes(2, 3)
  return jnp.dot(y.reshape(*y.shape[:3], -1), out)


class TemporalAttention(_Attention):
  """Attention over frames; each pixel is its own sequence.

  Rotary embedding on queries and keys, then the shared relative bias on the logits.
  """

  @nn.compact
  def __call__(
    self, x: Float[Array, "b t h w c"], bias: Float[Array, "n t t"]
  ) -> Float[Array, "b t h w c"]:
    batch, num_frames, *size, channels = x.shape
    gain, qkv, out = self.parameters(channels)
    query, key, value = jnp.moveaxis(qkv, 1, 0)
    qkv = jnp.stack([split_pairs(query), split_pairs(key), value], axis=1)

    def layer(y):
      q, k, v = project_heads(y, gain, qkv)
      return merge_heads(attend(rotate(q), rotate(k), v, bias), out)

    y = x.reshape(batch, num_frames, -1, channels).swapaxes(1, 2)
    floats = self.num_heads * num_frames * max(num_frames, 3 * self.head_dim)
    y = map_sequences(layer, y, floats)
    return y.swapaxes(1, 2).reshape(x.shape)


class SpatialAttention(_Attention):
  """Softmax attention over the pixels of each frame, without positions or biases."""

  @nn.compact
  def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t h w c"]:
    gain, qkv, out = self.parameters(x.shape[-1])
    layer = lambda y: merge_heads(attend(*project_heads(y, gain, qkv)), out)
    y = x.reshape(*x.shape[:2], -1, x.shape[-1])
    pixels = y.shape[2]
    floats = self.num_heads * pixels * max(pixels, 3 * self.head_dim)
    return map_sequences(layer, y, floats).reshape(x.shape)


class SpatialLinearAttention(_Attention):
  """Linear attention over the pixels of each frame (1812.01243).

  Queries are normalised over features, keys over pixels; their product with the values
  is a d x d matrix a head, so the cost is linear in the number of pixels.
  """

  @nn.compact
  def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t h w c"]:
    gain, qkv, out = self.parameters(x.shape[-1])
    bias = self.param("bias", bias_init(out.shape[0]), x.shape[-1:])

    def layer(y):
      q, k, v = project_heads(y, gain, qkv)
      q = jax.nn.softmax(q.astype(jnp.float32), axis=-1) * self.head_dim**-0.5
      k = jax.nn.softmax(k.astype(jnp.float32), axis=-2)
      context = jnp.einsum("...pd,...pe->...de", k.astype(v.dtype), v)
      return merge_heads(
        jnp.einsum("...pd,...de->...pe", q.astype(v.dtype), context), out
      )

    y = x.reshape(*x.shape[:2], -1, x.shape[-1])
    floats = self.num_heads * y.shape[2] * 3 * self.head_dim
    y = map_sequences(layer, y, floats).reshape(x.shape)
    return y + bias.reshape(1, 1, 1, 1, -1).astype(y.dtype)
