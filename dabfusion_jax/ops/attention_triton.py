"""Forms of softmax attention for GPUs: what lies between two projections, in a kernel.

Written in Pallas for its Triton backend. A kernel takes one head through a few
sequences: rotation, logits, bias, softmax and product stay on the chip, and only
queries, keys and values (`attend`) or the input (`project_and_attend`) are read, in the
layouts that products of matrices leave them in. The backward kernels do the same work
again. Sequences are padded to a power of two on the chip only.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from dabfusion_jax.ops.norms import layer_norm
from dabfusion_jax.ops.positions import rotation, turn

_LEAST = 16  # rows of a product
_PROGRAMS = 1024  # at least, if there are sequences enough: some per multiprocessor
_LONGEST_BLOCK = 32  # sequences that a program goes through
_NEVER = -1e30  # logit of padding
_WARPS = 4
_PARTS = tuple(np.int32(i) for i in range(3))  # queries, keys, values


def softmax_attention(
  x: Float[Array, "b m s c"],
  gain: Float[Array, "c"],
  qkv: Float[Array, "c 3 n d"],
  out: Float[Array, "i c"],
  bias: Float[Array, "n s s"],
  warps: int = _WARPS,
) -> Float[Array, "b m s c"]:
  """Applies softmax attention, rotated and with a bias; i = n d."""
  y = jnp.dot(layer_norm(x, gain), qkv.reshape(len(qkv), -1))
  y = attend(y.reshape(*x.shape[:-1], *qkv.shape[1:]), bias, warps)
  return jnp.dot(y.reshape(*x.shape[:-1], -1), out)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def attend(
  qkv: Float[Array, "b m s 3 n d"], bias: Float[Array, "n s s"], warps: int = _WARPS
) -> Float[Array, "b m s n d"]:
  """Applies softmax(q k^T / sqrt(d) + bias) v, where q and k are rotated before."""
  return _forward(_attend_forward, qkv, (), bias, warps)


def _attend_saving(qkv, bias, warps):
  return attend(qkv, bias, warps), (qkv, bias)


def _attend_backward(warps, saved, gradient):
  qkv, bias = saved
  of_qkv, of_bias = _backward(_attend_backward_kernel, qkv, (), bias, gradient, warps)
  return of_qkv.reshape(qkv.shape), of_bias


attend.defvjp(_attend_saving, _attend_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def project_and_attend(
  x: Float[Array, "b m s c"],
  kernel: Float[Array, "c 3 n d"],
  bias: Float[Array, "n s s"],
  warps: int = _WARPS,
) -> Float[Array, "b m s n d"]:
  """Applies `attend` to projections of x, which are not written to memory.

  The number c of channels is a power of two, and small: the weights of a head and their
  gradients stay on the chip.
  """
  return _forward(_project_forward, x, (kernel,), bias, warps)


def _project_saving(x, kernel, bias, warps):
  return project_and_attend(x, kernel, bias, warps), (x, kernel, bias)


def _project_backward(warps, saved, gradient):
  x, kernel, bias = saved
  of_x, of_kernel, of_bias = _backward(
    _project_backward_kernel, x, (kernel,), bias, gradient, warps
  )
  of_x = of_x.astype(jnp.float32).sum(0).astype(x.dtype).reshape(x.shape)
  return of_x, of_kernel.sum(0).astype(kernel.dtype), of_bias


project_and_attend.defvjp(_project_saving, _project_backward)


def _block_size(count: int, num_heads: int) -> int:
  """Returns how many of `count` sequences a program goes through."""
  most = max(1, min(_LONGEST_BLOCK, count * num_heads // _PROGRAMS))
  return max(n for n in range(1, most + 1) if count % n == 0)


def _tables(
  bias: Float[Array, "n s s"], head_dim: int, dtype: DTypeLike
) -> list[Array]:
  """Returns cosines, sines, a matrix that turns, and the bias, for padded sequences."""
  positions = bias.shape[1]
  rows = max(_LEAST, pl.next_power_of_2(positions))
  angles = [jnp.asarray(a, dtype) for a in rotation(rows, head_dim)]
  pad = rows - positions
  bias = jnp.pad(bias.astype(jnp.float32), ((0, 0), (0, pad), (0, 0)))
  bias = jnp.pad(bias, ((0, 0), (0, 0), (0, pad)), constant_values=_NEVER)
  return [*angles, turn(jnp.eye(head_dim, dtype=dtype)), bias]


def _call(kernel, arrays, results, num_heads: int, count: int, size: int, warps: int):
  """Runs a kernel for each head and each block of `size` sequences."""
  return pl.pallas_call(
    functools.partial(kernel, size),
    grid=(num_heads, count // size),
    out_shape=results,
    compiler_params=triton.CompilerParams(num_warps=warps, num_stages=2),
  )(*arrays)


def _forward(kernel, x, weights, bias, warps):
  """Returns the heads' results, [b m s n d]."""
  num_heads, head_dim = (*weights, x)[0].shape[-2:]
  *sizes, positions = x.shape[:3]
  count = math.prod(sizes)
  result = jax.ShapeDtypeStruct((count, positions, num_heads, head_dim), x.dtype)
  arrays = (x.reshape(count, *x.shape[2:]), *weights, *_tables(bias, head_dim, x.dtype))
  size = _block_size(count, num_heads)
  y = _call(kernel, arrays, result, num_heads, count, size, warps)
  return y.reshape(*sizes, *y.shape[1:])


def _backward(kernel, x, weights, bias, gradient, warps):
  """Returns gradients: of x, of weights per block if there are any, and of the bias.

  That of x has a first axis of heads if there are weights.
  """
  num_heads, head_dim = (*weights, x)[0].shape[-2:]
  count = math.prod(x.shape[:2])
  size = _block_size(count, num_heads)
  tables = _tables(bias, head_dim, x.dtype)
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
    warps,
  )
  positions = bias.shape[1]
  of_bias = of_bias.sum(0)[:, :positions, :positions]
  return *of_others, of_bias.astype(bias.dtype)


def _rotate(x, angles, dtype):
  """Rotates queries or keys."""
  cosine, sine, turning = angles
  return (x * cosine + triton.dot(x.astype(dtype), turning) * sine).astype(dtype)


def _rotate_back(gradient, angles, dtype):
  """Returns the gradient before the rotation."""
  cosine, sine, turning = angles
  turned = triton.dot((gradient * sine).astype(dtype), turning, trans_b=True)
  return (gradient * cosine + turned).astype(dtype)


def _softmax(q, k, bias, scale: float) -> tuple[Array, Array]:
  """Returns exponentials and their sums, [t s] and [t 1]."""
  logits = triton.dot(q, k, trans_b=True) * scale + bias
  exponentials = jnp.exp(logits - logits.max(-1)[:, None])
  return exponentials, exponentials.sum(-1)[:, None]


def _product(q, k, v, bias, scale: float) -> Array:
  """Returns what a head gives."""
  exponentials, total = _softmax(q, k, bias, scale)
  return triton.dot(exponentials.astype(v.dtype), v) / total


def _gradients(q, k, v, bias, gradient, scale: float):
  """Returns gradients: of rotated queries, rotated keys, values and logits."""
  exponentials, total = _softmax(q, k, bias, scale)
  shares = exponentials / total
  of_v = triton.dot(shares.astype(v.dtype), gradient, trans_a=True)
  of_shares = triton.dot(gradient, v, trans_b=True)
  of_logits = shares * (of_shares - (shares * of_shares).sum(-1)[:, None])
  scaled = (of_logits * scale).astype(v.dtype)
  return triton.dot(scaled, k), triton.dot(scaled, q, trans_a=True), of_v, of_logits


def _begin(size, cosine, sine, turning, bias, positions):
  """Returns a program's head, first sequence, how to read tables, and real rows.

  Tables are read for every sequence: they would not fit the registers for long.
  """
  head = pl.program_id(0)
  is_real = (jnp.arange(bias.shape[1]) < positions)[:, None]
  read = lambda: ((cosine[...], sine[...], turning[...]), bias[head])
  return head, pl.program_id(1) * size, read, is_real


def _load(ref, is_real):
  """Returns rows of an array, zeros for padding."""
  return triton.load(ref, mask=is_real, other=0.0)


def _store(ref, value, is_real):
  """Writes rows that are no padding."""
  triton.store(ref, value.astype(ref.dtype), mask=is_real)


def _attend_forward(size, qkv, *tables_and_result):
  *tables, y = tables_and_result
  positions, head_dim = qkv.shape[1], qkv.shape[-1]
  head, first, read, is_real = _begin(size, *tables, positions)
  rows = pl.ds(0, len(is_real))

  def body(i, _):
    angles, bias = read()
    q, k, v = (_load(qkv.at[first + i, rows, p, head, :], is_real) for p in _PARTS)
    q, k = (_rotate(a, angles, qkv.dtype) for a in (q, k))
    result = _product(q, k, v, bias, head_dim**-0.5)
    _store(y.at[first + i, rows, head, :], result, is_real)
    return 0

  jax.lax.fori_loop(0, size, body, 0)


def _attend_backward_kernel(size, qkv, *tables_and_results):
  *tables, gradient, of_qkv, of_bias = tables_and_results
  positions, head_dim = qkv.shape[1], qkv.shape[-1]
  head, first, read, is_real = _begin(size, *tables, positions)
  rows = pl.ds(0, len(is_real))

  def body(i, sum_of_bias):
    angles, bias = read()
    q, k, v = (_load(qkv.at[first + i, rows, p, head, :], is_real) for p in _PARTS)
    of_y = _load(gradient.at[first + i, rows, head, :], is_real)
    q, k = (_rotate(a, angles, qkv.dtype) for a in (q, k))
    of_q, of_k, of_v, of_logits = _gradients(q, k, v, bias, of_y, head_dim**-0.5)
    of_q, of_k = (_rotate_back(a, angles, qkv.dtype) for a in (of_q, of_k))
    for part, value in zip(_PARTS, (of_q, of_k, of_v), strict=True):
      _store(of_qkv.at[first + i, rows, part, head, :], value, is_real)
    return sum_of_bias + of_logits

  total = jax.lax.fori_loop(0, size, body, jnp.zeros(tables[-1].shape[1:], jnp.float32))
  of_bias[pl.program_id(1), head] = total


def _project(x, weights, angles):
  """Returns a head's rotated queries and keys, and its values."""
  q, k, v = (triton.dot(x, w).astype(x.dtype) for w in weights)
  q, k = (_rotate(a, angles, x.dtype) for a in (q, k))
  return q, k, v


def _project_forward(size, x, kernel, *tables_and_result):
  *tables, y = tables_and_result
  head, first, read, is_real = _begin(size, *tables, x.shape[1])
  rows, weights = pl.ds(0, len(is_real)), [kernel[:, p, head, :] for p in _PARTS]

  def body(i, _):
    angles, bias = read()
    sequence = _load(x.at[first + i, rows, :], is_real)
    q, k, v = _project(sequence, weights, angles)
    result = _product(q, k, v, bias, kernel.shape[-1] ** -0.5)
    _store(y.at[first + i, rows, head, :], result, is_real)
    return 0

  jax.lax.fori_loop(0, size, body, 0)


def _project_backward_kernel(size, x, kernel, *tables_and_results):
  *tables, gradient, of_x, of_kernel, of_bias = tables_and_results
  head, first, read, is_real = _begin(size, *tables, x.shape[1])
  rows, (channels, *_, head_dim) = pl.ds(0, len(is_real)), kernel.shape

  def body(i, sums):
    angles, bias = read()
    weights = [kernel[:, p, head, :] for p in _PARTS]
    sequence = _load(x.at[first + i, rows, :], is_real)
    of_y = _load(gradient.at[first + i, rows, head, :], is_real)
    q, k, v = _project(sequence, weights, angles)
    of_q, of_k, of_v, of_logits = _gradients(q, k, v, bias, of_y, head_dim**-0.5)
    of_q, of_k = (_rotate_back(a, angles, x.dtype) for a in (of_q, of_k))
    parts = of_q, of_k, of_v.astype(x.dtype)
    update = sum(
      triton.dot(a, w, trans_b=True) for a, w in zip(parts, weights, strict=True)
    )
    _store(of_x.at[head, first + i, rows, :], update, is_real)
    added = *(triton.dot(sequence, a, trans_a=True) for a in parts), of_logits
    return [a + b for a, b in zip(sums, added, strict=True)]

  zeros = [jnp.zeros((channels, head_dim), jnp.float32)] * 3
  zeros.append(jnp.zeros(tables[-1].shape[1:], jnp.float32))
  *of_weights, total = jax.lax.fori_loop(0, size, body, zeros)
  block = pl.program_id(1)
  for part, value in zip(_PARTS, of_weights, strict=True):
    of_kernel[block, :, part, head, :] = value
  of_bias[block, head] = total
