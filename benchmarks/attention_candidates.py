"""Forms of attention that a GPU may run faster than the plain ones.

Temporal attention of GPUs is "kernel"; what it won against is in docs/scaling.md. Each
maps (x, weights, bias) as `ops.attention` does, and equals its plain form.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from benchmarks import linear_attention_triton
from dabfusion_jax.ops import attention_triton
from dabfusion_jax.ops.attention import (
  AttentionWeights,
  linear_attention,
  softmax_attention,
)
from dabfusion_jax.ops.norms import layer_norm

Form = Callable[..., Array]


def _project(
  x: Float[Array, "b m s c"], weights: AttentionWeights
) -> Float[Array, "b m s 3 n d"]:
  """Normalises the input and projects it."""
  qkv = weights.qkv.reshape(x.shape[-1], -1)
  y = jnp.dot(layer_norm(x, weights.gain), qkv)
  return y.reshape(*x.shape[:-1], *weights.qkv.shape[1:])


def _project_back(y: Array, weights: AttentionWeights) -> Float[Array, "b m s c"]:
  """Joins the heads, the last two axes, and projects them back."""
  return jnp.dot(y.reshape(*y.shape[:-2], -1), weights.out)


def _queries(q: Float[Array, "b m s n d"]) -> Float[Array, "b m s n d"]:
  """Returns the softmax of queries, scaled."""
  shares = jax.nn.softmax(q.astype(jnp.float32), axis=-1) * q.shape[-1] ** -0.5
  return shares.astype(q.dtype)


def _keys(k: Float[Array, "b m s n d"]) -> tuple[Array, Array]:
  """Returns exponentials of keys, and their sums over positions, [b m n d 1]."""
  wide = k.astype(jnp.float32)
  exponentials = jnp.exp(wide - jax.lax.stop_gradient(wide.max(2, keepdims=True)))
  return exponentials.astype(k.dtype), exponentials.sum(2)[..., None]


def _context(k, v) -> Float[Array, "b m n d e"]:
  """Returns products of keys' softmax with values, normalised last."""
  exponentials, total = _keys(k)
  context = jnp.einsum(
    "bmsnd,bmsne->bmnde", exponentials, v, preferred_element_type=jnp.float32
  )
  return (context / total).astype(v.dtype)


def _linear_normalised_last(x, weights):
  q, k, v = jnp.moveaxis(_project(x, weights), 3, 0)
  y = jnp.einsum("bmsnd,bmnde->bmsne", _queries(q), _context(k, v))
  return _project_back(y, weights)


def _from_queries(q, context, weights: AttentionWeights) -> Float[Array, "b m s c"]:
  """Applies the projection back to contexts, of which there are fewer than results."""
  out = weights.out.reshape(*weights.qkv.shape[2:], -1)
  update = jnp.einsum("bmnde,nec->bmndc", context, out)
  return jnp.einsum("bmsi,bmic->bmsc", _flat(q, 3), _flat(update, 2))


def _flat(x: Array, axis: int) -> Array:
  """Joins two axes, heads and features."""
  return x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])


def _linear_folded_out(x, weights):
  q, k, v = jnp.moveaxis(_project(x, weights), 3, 0)
  return _from_queries(_queries(q), _context(k, v), weights)


def _linear_folded(x, weights):
  """Multiplies keys by the input first: values and results are never written."""
  y = layer_norm(x, weights.gain)
  kernel = weights.qkv[:, :2].reshape(x.shape[-1], -1)
  qk = jnp.dot(y, kernel).reshape(*x.shape[:-1], 2, *weights.qkv.shape[2:])
  q, k = jnp.moveaxis(qk, 3, 0)
  exponentials, total = _keys(k)
  inputs = jnp.einsum(
    "bmsi,bmsc->bmic", _flat(exponentials, 3), y, preferred_element_type=jnp.float32
  )
  inputs = inputs.reshape(*total.shape[:-1], -1) / total
  context = jnp.einsum("bmndc,cne->bmnde", inputs.astype(x.dtype), weights.qkv[:, 2])
  return _from_queries(_queries(q), context, weights)


def _kernel(x, weights, bias):
  return attention_triton.softmax_attention(x, *weights, bias)


def _linear_kernels(x, weights):
  return linear_attention_triton.linear_attention(x, *weights)


def _named(name: str, form: Form) -> dict[str, Form]:
  """Returns a form that recomputes its intermediate arrays, and one that does not."""
  return {name: jax.checkpoint(form), f"{name}, kept": form}


# Name -> form; "kept" ones keep arrays for the backward pass.
TEMPORAL: dict[str, Form] = {
  **_named("plain", softmax_attention.plain),
  **_named("kernel", _kernel),
}
LINEAR: dict[str, Form] = {
  **_named("plain", linear_attention.plain),
  **_named("kernels", _linear_kernels),
  **_named("folded", _linear_folded),
  **_named("folded out", _linear_folded_out),
  **_named("normalised last", _linear_normalised_last),
}
