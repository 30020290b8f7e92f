"""Multi-head self-attention, softmax or linear, over m sequences [b m s c].

Source: Ho et al. 2022 (2204.03458) in LFDM's form: preceded by a layer norm, without a
residual connection. Intermediate arrays are many times larger than the input, so the
backward pass recomputes them.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dabfusion_jax.ops import attention_kernels
from dabfusion_jax.ops.chunks import chunk_size
from dabfusion_jax.ops.norms import layer_norm
from dabfusion_jax.ops.platform import forms
from dabfusion_jax.ops.positions import rotate

_CACHE_FLOATS = 2**19  # about one CPU core's cache


class AttentionWeights(NamedTuple):
  """Parameters of an attention layer with n heads of d features; d is even."""

  gain: Array  # [c], of the layer norm
  qkv: Array  # [c 3 n d], the projections to queries, keys and values
  out: Array  # [(n d) c], the projection back


def _project(
  x: Float[Array, "b m s c"], weights: AttentionWeights
) -> Float[Array, "b m s 3 n d"]:
  """Normalises the input and projects it to queries, keys and values."""
  qkv = weights.qkv.reshape(weights.qkv.shape[0], -1)
  y = jnp.dot(layer_norm(x, weights.gain), qkv)
  return y.reshape(*x.shape[:-1], *weights.qkv.shape[1:])


def _in_chunks(
  layer: Callable[[Array], Array],
  x: Float[Array, "b m s c"],
  floats_per_sequence: int,
) -> Float[Array, "b m s c"]:
  """Returns layer(x) for a layer that treats each of the m sequences by itself.

  Works on chunks of sequences whose intermediate arrays fit the cache of a CPU core,
  which makes training about twice as fast.

  Args:
    layer: maps [b n s c] to [b n s c] for any number n of sequences.
    x: the input.
    floats_per_sequence: size of the layer's largest intermediate array per sequence.
  """
  batch, count = x.shape[:2]
  size = chunk_size(count, _CACHE_FLOATS // (batch * floats_per_sequence))
  if size == count:
    return layer(x)
  chunks = x.reshape(batch, -1, size, *x.shape[2:]).swapaxes(0, 1)
  # The body is rematerialised too: a loop would store its intermediates per iteration.
  y = jax.lax.map(jax.checkpoint(layer), chunks)
  return y.swapaxes(0, 1).reshape(x.shape)


def _heads_first(
  x: Float[Array, "b m s c"], weights: AttentionWeights
) -> list[Float[Array, "bm n s d"]]:
  """Returns queries, keys and values with the heads before the positions.

  On a CPU, the explicit transpose is several times faster than contractions over axes
  in another order. With more axes, or with all three in one array, XLA transposes more
  in the backward pass, which then takes up to twice the time.
  """
  (num_heads, head_dim), (positions, channels) = weights.qkv.shape[2:], x.shape[2:]
  y = layer_norm(x.reshape(-1, channels), weights.gain)
  parts = jnp.split(jnp.dot(y, weights.qkv.reshape(channels, -1)), 3, axis=-1)
  shape = (-1, positions, num_heads, head_dim)
  return [part.reshape(shape).swapaxes(1, 2) for part in parts]


def _merge_heads(
  y: Float[Array, "bm n s d"], weights: AttentionWeights, shape: tuple[int, ...]
) -> Float[Array, "b m s c"]:
  """Concatenates the heads and projects them back to the shape of the input."""
  y = y.swapaxes(1, 2).reshape(-1, weights.out.shape[0])
  return jnp.dot(y, weights.out).reshape(shape)


def _softmax_attention_in_chunks(
  x: Float[Array, "b m s c"],
  weights: AttentionWeights,
  bias: Float[Array, "n s s"] | None = None,
) -> Float[Array, "b m s c"]:
  """Normalises the softmax last: d divisions per query instead of s."""

  def layer(x):
    q, k, v = _heads_first(x, weights)
    if bias is not None:
      q, k = rotate(q, axis=-2), rotate(k, axis=-2)
    logits = jnp.einsum("bntd,bnsd->bnts", q * q.shape[-1] ** -0.5, k)
    logits = logits.astype(jnp.float32)
    if bias is not None:
      logits += bias[None]
    largest = jax.lax.stop_gradient(logits.max(-1, keepdims=True))
    exponentials = jnp.exp(logits - largest)
    total = exponentials.sum(-1, keepdims=True)
    y = jnp.einsum("bnts,bnsd->bntd", exponentials.astype(v.dtype), v)
    return _merge_heads((y / total).astype(v.dtype), weights, x.shape)

  positions, (num_heads, head_dim) = x.shape[2], weights.qkv.shape[2:]
  return _in_chunks(layer, x, num_heads * positions * max(positions, 3 * head_dim))


def _softmax_attention_in_kernel(
  x: Float[Array, "b m s c"],
  weights: AttentionWeights,
  bias: Float[Array, "n s s"] | None = None,
) -> Float[Array, "b m s c"]:
  """Moves the input and the output only; the plain form for shapes that do not fit."""
  if attention_kernels.softmax_fits(x, weights.qkv, bias):
    return attention_kernels.softmax_attention(x, *weights, bias)
  return softmax_attention.plain(x, weights, bias)


def _softmax_attention_in_triton(
  x: Float[Array, "b m s c"],
  weights: AttentionWeights,
  bias: Float[Array, "n s s"] | None = None,
) -> Float[Array, "b m s c"]:
  """Writes no logits; the plain form for what the kernel does not take."""
  try:  # not on top: it takes a while, and a later jax may lack what it needs
    from dabfusion_jax.ops import attention_triton
  except ImportError:
    return softmax_attention.plain(x, weights, bias)
  if attention_triton.softmax_fits(x, weights.qkv, bias):
    return attention_triton.softmax_attention(x, *weights, bias)
  return softmax_attention.plain(x, weights, bias)


@jax.checkpoint
@forms(
  cpu=_softmax_attention_in_chunks,
  tpu=_softmax_attention_in_kernel,
  cuda=_softmax_attention_in_triton,
)
def softmax_attention(
  x: Float[Array, "b m s c"],
  weights: AttentionWeights,
  bias: Float[Array, "n s s"] | None = None,
) -> Float[Array, "b m s c"]:
  """Applies softmax(q k^T / sqrt(d) + bias) v within each sequence.

  A `bias` implies ordered positions: queries and keys are then rotated as well
  (`positions.rotate`, features in half-split order). The softmax is in float32.
  """
  q, k, v = jnp.moveaxis(_project(x, weights), 3, 0)
  if bias is not None:
    q, k, bias = rotate(q, axis=2), rotate(k, axis=2), bias[None]
  attend = lambda q, k, v: jax.nn.dot_product_attention(q, k, v, bias)
  # Mapped over b rather than reshaped to (b m): the batch axis may be sharded.
  y = jax.vmap(attend)(q, k, v)
  return jnp.dot(y.reshape(*x.shape[:-1], -1), weights.out)


def _linear_attention_in_chunks(
  x: Float[Array, "b m s c"], weights: AttentionWeights
) -> Float[Array, "b m s c"]:
  """Keeps the positions of a head contiguous."""
  num_heads, head_dim = weights.qkv.shape[2:]

  def layer(x):
    heads = _heads_first(x, weights)
    # Contracted over positions, with one axis before them: more are transposed as well.
    q, k, v = (y.reshape(-1, *y.shape[2:]) for y in heads)
    q = jax.nn.softmax(q.astype(jnp.float32), axis=-1) * head_dim**-0.5
    k = jax.nn.softmax(k.astype(jnp.float32), axis=-2)
    context = jnp.einsum("nsd,nse->nde", k.astype(v.dtype), v)
    y = jnp.einsum("nsd,nde->nse", q.astype(v.dtype), context)
    return _merge_heads(y.reshape(heads[0].shape), weights, x.shape)

  return _in_chunks(layer, x, num_heads * x.shape[2] * 3 * head_dim)


def _linear_attention_in_kernel(
  x: Float[Array, "b m s c"], weights: AttentionWeights
) -> Float[Array, "b m s c"]:
  """Moves the input and the output only; the plain form for shapes that do not fit."""
  if attention_kernels.linear_fits(x, weights.qkv):
    return attention_kernels.linear_attention(x, *weights)
  return linear_attention.plain(x, weights)


@jax.checkpoint
@forms(cpu=_linear_attention_in_chunks, tpu=_linear_attention_in_kernel)
def linear_attention(
  x: Float[Array, "b m s c"], weights: AttentionWeights
) -> Float[Array, "b m s c"]:
  """Applies attention at a cost linear in the length of a sequence (1812.01243).

  A softmax in float32 normalises queries over features and keys over positions; the
  product of keys and values is a d x d matrix per head.
  """
  q, k, v = jnp.moveaxis(_project(x, weights), 3, 0)
  q = jax.nn.softmax(q.astype(jnp.float32), axis=-1) * q.shape[-1] ** -0.5
  k = jax.nn.softmax(k.astype(jnp.float32), axis=2)
  context = jnp.einsum("bmsnd,bmsne->bmnde", k.astype(v.dtype), v)
  y = jnp.einsum("bmsnd,bmnde->bmsne", q.astype(v.dtype), context)
  return jnp.dot(y.reshape(*x.shape[:-1], -1), weights.out)
