"""Forms of softmax attention for GPUs: what lies between two projections, in a kernel.

Written in Pallas for its Triton backend. A kernel takes one head through a few
sequences: rotation, logits, bias, softmax and product stay on the chip, and only
queries, keys and values (`attend`) or the input (`project_and_attend`) are read, in the
layouts that products of matrices leave them in. The backward kernels do the same work
again. Sequences are padded to a power of two on the chip only.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Array, Float

from dabfusion_jax.ops.positions import rotation

_LEAST = 16  # rows of a product
_PROGRAMS = 1024  # at least, if there are sequences enough: some per multiprocessor
_LONGEST_BLOCK = 32  # sequences that a program goes through
_NEVER = -1e30  # logit of padding
_WARPS = 4


@jax.custom_vjp
def attend(
  qkv: Float[Array, "b m s 3 n d"], bias: Float[Array, "n s s"]
) -> Float[Array, "b m s n d"]:
  """Applies softmax(q k^T / sqrt(d) + bias) v, where q and k are rotated before."""
  return _forward(_attend_forward, qkv, (), bias)


def _attend_saving(qkv, bias):
  return attend(qkv, bias), (qkv, bias)


def _attend_backward(saved, gradient):
  qkv, bias = saved
  of_qkv, of_bias = _backward(_attend_backward_kernel, qkv, (), bias, gradient)
  return of_qkv.reshape(qkv.shape), of_bias


attend.defvjp(_attend_saving, _attend_backward)


@jax.custom_vjp
def project_and_attend(
  x: Float[Array, "b m s c"],
  kernel: Float[Array, "c 3 n d"],
  bias: Float[Array, "n s s"],
) -> Float[Array, "b m s n d"]:
  """Applies `attend` to projections of x, which are not written to memory.

  The number c of channels is a power of two, and small: the weights of a head and their
  gradients stay on the chip.
  """
  return _forward(_project_forward, x, (kernel,), bias)


def _project_saving(x, kernel, bias):
  return project_and_attend(x, kernel, bias), (x, kernel, bias)


def _project_backward(saved, gradient):
  x, kernel, bias = saved
  of_x, of_kernel, of_bias = _backward(
    _project_backward_kernel, x, (kernel,), bias, gradient
  )
  of_x = of_x.astype(jnp.float32).sum(0).astype(x.dtype).reshape(x.shape)
  return of_x, of_kernel.sum(0).astype(kernel.dtype), of_bias


project_and_attend.defvjp(_project_saving, _project_backward)


def _block_size(count: int, num_heads: int) -> int:
  """Returns how many of `count` sequences a program goes through."""
  most = max(1, min(_LONGEST_BLOCK, count * num_heads // _PROGRAMS))
  return max(n for n in range(1, most + 1) if count % n == 0)


def _tables(bias: Float[Array, "n s s"], head_dim: int) -> list[Array]:
  """Returns cosines, sines and the bias for padded sequences, in float32."""
  positions = bias.shape[1]
  rows = max(_LEAST, pl.next_power_of_2(positions))
  angles = [
    jnp.asarray(a[:, : head_dim // 2], jnp.float32) for a in rotation(rows, head_dim)
  ]
  pad = rows - positions
  bias = jnp.pad(bias.astype(jnp.float32), ((0, 0), (0, pad), (0, 0)))
  return [*angles, jnp.pad(bias, ((0, 0), (0, 0), (0, pad)), constant_values=_NEVER)]


def _call(kernel, arrays, results, num_heads: int, count: int, size: int) -> Any:
  """Runs a kernel for each head and each block of `size` sequences."""
  return pl.pallas_call(
    functools.partial(kernel, size),
    grid=(num_heads, count // size),
    out_shape=results,
    compiler_params=triton.CompilerParams(num_warps=_WARPS, num_stages=2),
  )(*arrays)


def _forward(kernel, x, weights, bias):
  """Returns the heads' results, [b m s n d]."""
  num_heads, head_dim = (*weights, x)[0].shape[-2:]
  *sizes, positions = x.shape[:3]
  count = math.prod(sizes)
  result = jax.ShapeDtypeStruct((count, positions, num_heads, head_dim), x.dtype)
  arrays = (x.reshape(count, *x.shape[2:]), *weights, *_tables(bias, head_dim))
  size = _block_size(count, num_heads)
  y = _call(kernel, arrays, result, num_heads, count, size)
  return y.reshape(*sizes, *y.shape[1:])


def _backward(kernel, x, weights, bias, gradient):
  """Returns gradients: of x, of weights per block if there are any, and of the bias.

  That of x has a first axis of heads if there are weights.
  """
  num_heads, head_dim = (*weights, x)[0].shape[-2:]
  count = math.prod(x.shape[:2])
  size = _block_size(count, num_heads)
  tables = _tables(bias, head_dim)
  wide = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.float32)
  x, gradient = (a.reshape(count, *a.shape[2:]) for a in (x, gradient))
  per_head = (num_heads,) if weights else ()
  *of_others, of_bias = _call(
    kernel,
    (x, *weights, *tables, gradient),
    (
      jax.ShapeDtypeStruct((*per_head, *x.shape), x.dtype),
      *(wide(count // size, *w.shape) for w in weights),
      wide(count // size, *tables[-1].shape),
    ),
    num_heads,
    count,
    size,
  )
  positions = bias.shape[1]
  of_bias = of_bias.sum(0)[:, :positions, :positions]
  return *of_others, of_bias.astype(bias.dtype)


def _ranges(head_dim: int) -> tuple[pl.Slice, pl.Slice]:
  """Returns the halves of a head's features, which rotation treats differently."""
  half = head_dim // 2
  return pl.ds(0, half), pl.ds(half, half)


def _rotate(halves, cosine, sine, dtype):
  """Rotates queries or keys, or back if `sine` is negative."""
  a, b = (x.astype(jnp.float32) for x in halves)
  return [
    (a * cosine - b * sine).astype(dtype),
    (b * cosine + a * sine).astype(dtype),
  ]


def _softmax(q, k, bias, scale: float) -> tuple[Array, Array]:
  """Returns exponentials and their sums, [t s] and [t 1], from rotated halves."""
  logits = sum(triton.dot(a, b, trans_b=True) for a, b in zip(q, k, strict=True))
  logits = logits * scale + bias
  exponentials = jnp.exp(logits - logits.max(-1)[:, None])
  return exponentials, exponentials.sum(-1)[:, None]


def _product(q, k, v, bias, scale: float) -> Array:
  """Returns what a head gives."""
  exponentials, total = _softmax(q, k, bias, scale)
  return triton.dot(exponentials.astype(v.dtype), v) / total


def _gradients(q, k, v, bias, gradient, scale: float):
  """Returns gradients: of rotated queries, rotated keys, values and the bias."""
  exponentials, total = _softmax(q, k, bias, scale)
  shares = exponentials / total
  of_v = triton.dot(shares.astype(v.dtype), gradient, trans_a=True)
  of_shares = triton.dot(gradient, v, trans_b=True)
  of_logits = shares * (of_shares - (shares * of_shares).sum(-1)[:, None])
  scaled = (of_logits * scale).astype(v.dtype)
  of_q = [triton.dot(scaled, b) for b in k]
  of_k = [triton.dot(scaled, a, trans_a=True) for a in q]
  return of_q, of_k, of_v, of_logits


def _begin(size, cosine, sine, bias, positions):
  """Returns a program's head, first sequence, tables and which rows are no padding."""
  head = pl.program_id(0)
  is_real = (jnp.arange(bias.shape[1]) < positions)[:, None]
  return head, pl.program_id(1) * size, (cosine[...], sine[...]), bias[head], is_real


def _attend_forward(size, qkv, cosine, sine, bias, y):
  positions, head_dim = qkv.shape[1], qkv.shape[-1]
  head, first, angles, bias, is_real = _begin(size, cosine, sine, bias, positions)
  rows = pl.ds(0, len(bias))

  def body(i, _):
    read = lambda part, features: triton.load(
      qkv.at[first + i, rows, jnp.int32(part), head, features], mask=is_real, other=0.0
    )
    q, k = ([read(part, half) for half in _ranges(head_dim)] for part in (0, 1))
    q, k = (_rotate(a, *angles, qkv.dtype) for a in (q, k))
    result = _product(q, k, read(2, pl.ds(0, head_dim)), bias, head_dim**-0.5)
    place = y.at[first + i, rows, head, pl.ds(0, head_dim)]
    triton.store(place, result.astype(y.dtype), mask=is_real)
    return 0

  jax.lax.fori_loop(0, size, body, 0)


def _attend_backward_kernel(
  size, qkv, cosine, sine, bias, gradient, of_qkv, of_bias
):
  positions, head_dim = qkv.shape[1], qkv.shape[-1]
  head, first, angles, bias, is_real = _begin(size, cosine, sine, bias, positions)
  rows, whole = pl.ds(0, len(bias)), pl.ds(0, head_dim)

  def body(i, sum_of_bias):
    read = lambda part, features: triton.load(
      qkv.at[first + i, rows, jnp.int32(part), head, features], mask=is_real, other=0.0
    )
    place = gradient.at[first + i, rows, head, whole]
    of_y = triton.load(place, mask=is_real, other=0.0)
    q, k = ([read(part, half) for half in _ranges(head_dim)] for part in (0, 1))
    q, k = (_rotate(a, *angles, qkv.dtype) for a in (q, k))
    of_q, of_k, of_v, of_logits = _gradients(
      q, k, read(2, whole), bias, of_y, head_dim**-0.5
    )

    def write(part, features, value):
      place = of_qkv.at[first + i, rows, jnp.int32(part), head, features]
      triton.store(place, value.astype(of_qkv.dtype), mask=is_real)

    for part, halves in enumerate((of_q, of_k)):
      halves = _rotate(halves, angles[0], -angles[1], jnp.float32)
      for half, value in zip(_ranges(head_dim), halves, strict=True):
        write(part, half, value)
    write(2, whole, of_v)
    return sum_of_bias + of_logits

  of_bias[pl.program_id(1), head] = jax.lax.fori_loop(
    0, size, body, jnp.zeros_like(bias)
  )


def _head_weights(weights, head):
  """Returns halves for queries and for keys, and the weights for values."""
  head_dim = weights.shape[-1]
  q, k = (
    [weights[:, jnp.int32(part), head, half] for half in _ranges(head_dim)] for part in (0, 1)
  )
  return q, k, weights[:, jnp.int32(2), head, :]


def _project(x, to_q, to_k, to_v, angles):
  """Returns a head's rotated queries and keys, and its values."""
  q, k = ([triton.dot(x, w).astype(x.dtype) for w in part] for part in (to_q, to_k))
  q, k = (_rotate(a, *angles, x.dtype) for a in (q, k))
  return q, k, triton.dot(x, to_v).astype(x.dtype)


def _project_forward(size, x, weights, cosine, sine, bias, y):
  head_dim, positions = weights.shape[-1], x.shape[1]
  head, first, angles, bias, is_real = _begin(size, cosine, sine, bias, positions)
  rows, parts = pl.ds(0, len(bias)), _head_weights(weights, head)

  def body(i, _):
    of_input = triton.load(x.at[first + i, rows, :], mask=is_real, other=0.0)
    q, k, v = _project(of_input, *parts, angles)
    result = _product(q, k, v, bias, head_dim**-0.5)
    place = y.at[first + i, rows, head, pl.ds(0, head_dim)]
    triton.store(place, result.astype(y.dtype), mask=is_real)
    return 0

  jax.lax.fori_loop(0, size, body, 0)


def _project_backward_kernel(
  size, x, weights, cosine, sine, bias, gradient, of_x, of_weights, of_bias
):
  head_dim, positions = weights.shape[-1], x.shape[1]
  head, first, angles, bias, is_real = _begin(size, cosine, sine, bias, positions)
  rows, (to_q, to_k, to_v) = pl.ds(0, len(bias)), _head_weights(weights, head)
  flat = [*to_q, *to_k, to_v]

  def body(i, sums):
    y = triton.load(x.at[first + i, rows, :], mask=is_real, other=0.0)
    place = gradient.at[first + i, rows, head, pl.ds(0, head_dim)]
    of_y = triton.load(place, mask=is_real, other=0.0)
    q, k, v = _project(y, to_q, to_k, to_v, angles)
    of_q, of_k, of_v, of_logits = _gradients(q, k, v, bias, of_y, head_dim**-0.5)
    back = angles[0], -angles[1], x.dtype
    parts = [*_rotate(of_q, *back), *_rotate(of_k, *back), of_v.astype(x.dtype)]
    update = sum(triton.dot(a, w, trans_b=True) for a, w in zip(parts, flat, strict=True))
    place = of_x.at[head, first + i, rows, :]
    triton.store(place, update.astype(of_x.dtype), mask=is_real)
    added = [triton.dot(y, a, trans_a=True) for a in parts]
    return [a + b for a, b in zip(sums, (*added, of_logits), strict=True)]

  zeros = [jnp.zeros(a.shape, jnp.float32) for a in (*flat, bias)]
  *of_parts, of_bias_sum = jax.lax.fori_loop(0, size, body, zeros)
  block = pl.program_id(1)
  places = [(part, half) for part in (0, 1) for half in _ranges(head_dim)]
  places.append((2, pl.ds(0, head_dim)))
  for (part, features), value in zip(places, of_parts, strict=True):
    of_weights[block, :, jnp.int32(part), head, features] = value
  of_bias[block, head] = of_bias_sum
