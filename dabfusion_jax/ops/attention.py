"""Multi-head self-attention, with a softmax or linear, over m sequences [b m s c].

Source: Ho et al. 2022 (2204.03458) in LFDM's form; a layer norm before, no residual.
Intermediate arrays are many times larger than the input: all forms recompute them in
the backward pass rather than store them.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dabfusion_jax.ops.norms import layer_norm
from dabfusion_jax.ops.platform import cpu_form
from dabfusion_jax.ops.positions import rotate

_CACHE_FLOATS = 2**19  # about one CPU core's cache


class AttentionWeights(NamedTuple):
  """Parameters of a layer with n heads of d features; d is even."""

  gain: Array  # [c], of the layer norm
  qkv: Array  # [c 3 n d], to queries, keys and values
  out: Array  # [(n d) c]


def _project(
  x: Float[Array, "b m s c"], weights: AttentionWeights
) -> Float[Array, "b m s 3 n d"]:
  """Normalises the input and projects it to queries, keys and values."""
  qkv = weights.qkv.reshape(weights.qkv.shape[0], -1)
  y = jnp.dot(layer_norm(x, weights.gain), qkv)
  return y.reshape(*x.shape[:-1], *weights.qkv.shape[1:])


def in_chunks(
  layer: Callable[[Array], Array],
  x: Float[Array, "b m s c"],
  floats_per_sequence: int,
  cache_floats: int = _CACHE_FLOATS,
) -> Float[Array, "b m s c"]:
  """Returns layer(x) for a layer that treats the m sequences of an example alike.

  Takes them in chunks whose intermediate arrays stay in the cache of a CPU, which makes
  training about twice as fast.
  """
  batch, count = x.shape[:2]
  fitting = max(1, cache_floats // (batch * floats_per_sequence))
  size = max(n for n in range(1, min(count, fitting) + 1) if count % n == 0)
  if size == count:
    return layer(x)
  chunks = x.reshape(batch, -1, size, *x.shape[2:]).swapaxes(0, 1)
  # Remat inside the loop as well: a loop stores what its body would.
  y = jax.lax.map(jax.checkpoint(layer), chunks)
  return y.swapaxes(0, 1).reshape(x.shape)


def _heads_first(
  x: Float[Array, "b m s c"], weights: AttentionWeights
) -> Float[Array, "3 b m n s d"]:
  """`_project` with an explicit transpose to (sequence, head, position, feature).

  Several times faster on CPU than to leave the order to the contractions.
  """
  return jnp.transpose(_project(x, weights), (3, 0, 1, 4, 2, 5))


def _merge_heads(
  y: Float[Array, "b m n s d"], weights: AttentionWeights
) -> Float[Array, "b m s c"]:
  y = y.swapaxes(2, 3)
  return jnp.dot(y.reshape(*y.shape[:3], -1), weights.out)


def _softmax_attention_in_chunks(
  x: Float[Array, "b m s c"],
  weights: AttentionWeights,
  bias: Float[Array, "n s s"] | None = None,
) -> Float[Array, "b m s c"]:
  """Divides by the softmax's denominator last, by d numbers per row instead of s."""

  def layer(x):
    q, k, v = _heads_first(x, weights)
    if bias is not None:
      q, k = rotate(q, axis=-2), rotate(k, axis=-2)
    logits = jnp.einsum("...td,...sd->...ts", q * q.shape[-1] ** -0.5, k)
    logits = logits.astype(jnp.float32)
    if bias is not None:
      logits += bias.reshape((1,) * (logits.ndim - 3) + bias.shape)
    largest = jax.lax.stop_gradient(logits.max(-1, keepdims=True))
    shares = jnp.exp(logits - largest)
    total = shares.sum(-1, keepdims=True)
    y = jnp.einsum("...ts,...sd->...td", shares.astype(v.dtype), v)
    return _merge_heads((y / total).astype(v.dtype), weights)

  positions, (num_heads, head_dim) = x.shape[2], weights.qkv.shape[2:]
  return in_chunks(layer, x, num_heads * positions * max(positions, 3 * head_dim))


@jax.checkpoint
@cpu_form(_softmax_attention_in_chunks)
def softmax_attention(
  x: Float[Array, "b m s c"],
  weights: AttentionWeights,
  bias: Float[Array, "n s s"] | None = None,
) -> Float[Array, "b m s c"]:
  """Attends within each sequence by softmax(q k^T / sqrt(d) + bias) v.

  `bias` is that of ordered positions: given one, queries and keys are rotated too
  (`positions.rotate`, features in half-split order). The softmax is in float32.
  """
  q, k, v = jnp.moveaxis(_project(x, weights), 3, 0)
  if bias is not None:
    q, k, bias = rotate(q, axis=2), rotate(k, axis=2), bias[None]
  attend = lambda q, k, v: jax.nn.dot_product_attention(q, k, v, bias)
  y = jax.vmap(attend)(q, k, v)
  return jnp.dot(y.reshape(*x.shape[:-1], -1), weights.out)


def _linear_attention_in_chunks(
  x: Float[Array, "b m s c"], weights: AttentionWeights
) -> Float[Array, "b m s c"]:
  """Keeps the positions of a head together."""
  num_heads, head_dim = weights.qkv.shape[2:]

  def layer(x):
    q, k, v = _heads_first(x, weights)
    q = jax.nn.softmax(q.astype(jnp.float32), axis=-1) * head_dim**-0.5
    k = jax.nn.softmax(k.astype(jnp.float32), axis=-2)
    context = jnp.einsum("...sd,...se->...de", k.astype(v.dtype), v)
    y = jnp.einsum("...sd,...de->...se", q.astype(v.dtype), context)
    return _merge_heads(y, weights)

  return in_chunks(layer, x, num_heads * x.shape[2] * 3 * head_dim)


@jax.checkpoint
@cpu_form(_linear_attention_in_chunks)
def linear_attention(
  x: Float[Array, "b m s c"], weights: AttentionWeights
) -> Float[Array, "b m s c"]:
  """Attends within each sequence at a cost linear in its length (1812.01243).

  Queries are normalised over features, keys over positions, both by a softmax in
  float32; the product of keys and values is a d x d matrix per head.
  """
  q, k, v = jnp.moveaxis(_project(x, weights), 3, 0)
  q = jax.nn.softmax(q.astype(jnp.float32), axis=-1) * q.shape[-1] ** -0.5
  k = jax.nn.softmax(k.astype(jnp.float32), axis=2)
  context = jnp.einsum("bmsnd,bmsne->bmnde", k.astype(v.dtype), v)
  y = jnp.einsum("bmsnd,bmnde->bmsne", q.astype(v.dtype), context)
  return jnp.dot(y.reshape(*x.shape[:-1], -1), weights.out)
