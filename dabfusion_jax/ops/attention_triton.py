"""Softmax attention for NVIDIA's GPUs: what lies between two projections, in a kernel.

Written in Pallas for its Triton backend. A kernel takes one head through a few
sequences: rotation, logits, bias, softmax and product stay on the chip, and only
queries, keys and values are read, in the layout that the product of matrices leaves
them in. The backward kernel does the same work again. Sequences are padded to a power
of two on the chip only.
"""

import contextlib
import functools
import threading
import warnings
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from dabfusion_jax.ops.chunks import chunk_size
from dabfusion_jax.ops.kernel_calls import divides, lazy, split_batch
from dabfusion_jax.ops.norms import layer_norm
from dabfusion_jax.ops.positions import rotation, turn

_DTYPE = jnp.bfloat16  # the others have not been measured
_LONGEST, _HEAD_DIMS = 64, (16, 32, 64)  # for which the registers suffice
_OLD = ("5.", "6.", "7.")  # compute capabilities without products of bfloat16
_NOTICE = "The Pallas Triton backend is deprecated"  # jax 0.11
_ONE_AT_A_TIME = threading.Lock()  # filters of warnings belong to the process
_LEAST = 16  # rows of a product
_PROGRAMS = 1024  # at least, if there are sequences enough: some per multiprocessor
_LONGEST_BLOCK = 32  # sequences that a program goes through
_NEVER = -1e30  # logit of padding
_WARPS = 4
_PARTS = tuple(np.int32(i) for i in range(3))  # queries, keys, values


def softmax_fits(
  x: Float[Array, "b m s c"],
  qkv: Float[Array, "c 3 n d"],
  bias: Float[Array, "n s s"] | None,
) -> bool:
  """Returns whether `softmax_attention` takes these arrays, on the GPU that is here.

  Its products of float32 would be less precise than those of the plain form.
  """
  return (
    bias is not None
    and jnp.result_type(x, qkv) == _DTYPE
    and x.shape[2] <= _LONGEST
    and qkv.shape[-1] in _HEAD_DIMS
    and divides(len(x))
    and not any(
      getattr(device, "compute_capability", "").startswith(_OLD)
      for device in jax.local_devices()
    )
  )


def softmax_attention(
  x: Float[Array, "b m s c"],
  gain: Float[Array, "c"],
  qkv: Float[Array, "c 3 n d"],
  out: Float[Array, "i c"],
  bias: Float[Array, "n s s"],
) -> Float[Array, "b m s c"]:
  """Applies softmax attention, rotated and with a bias; i = n d."""
  y = jnp.dot(layer_norm(x, gain), qkv.reshape(len(qkv), -1))
  y = attend(y.reshape(*x.shape[:-1], *qkv.shape[1:]), bias)
  return jnp.dot(y.reshape(*x.shape[:-1], -1), out)


@jax.custom_vjp
def attend(
  qkv: Float[Array, "b m s 3 n d"], bias: Float[Array, "n s s"]
) -> Float[Array, "b m s n d"]:
  """Applies softmax(q k^T / sqrt(d) + bias) v, where q and k are rotated before.

  Each device has its own examples. There are no derivatives in forward mode.
  """
  return split_batch(lambda qkv, bias: _forward_p.bind(qkv, bias)[0], qkv, bias)


def _attend_saving(qkv, bias):
  return attend(qkv, bias), (qkv, bias)


def _attend_backward(saved, gradient):
  qkv, bias = saved
  function = lambda batched, bias: _backward_p.bind(*batched, bias)
  of_qkv, of_bias = split_batch(function, (qkv, gradient), bias)
  return of_qkv, of_bias.sum(0).astype(bias.dtype)


attend.defvjp(_attend_saving, _attend_backward)


def _block_size(count: int, num_heads: int) -> int:
  """Returns how many of `count` sequences a program goes through."""
  return chunk_size(count, min(_LONGEST_BLOCK, count * num_heads // _PROGRAMS))


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


def _call(kernel, arrays, results, num_heads: int, count: int, size: int):
  """Runs a kernel for each head and each block of `size` sequences."""
  return pl.pallas_call(
    functools.partial(kernel, size),
    grid=(num_heads, count // size),
    out_shape=results,
    compiler_params=triton.CompilerParams(num_warps=_WARPS, num_stages=2),
  )(*arrays)


def _call_forward(qkv, bias):
  """Runs the forward kernel; returns the heads' results, [b m s n d], in a list."""
  batch, count, positions, _, num_heads, head_dim = qkv.shape
  count *= batch
  result = jax.ShapeDtypeStruct((count, positions, num_heads, head_dim), qkv.dtype)
  arrays = (qkv.reshape(count, *qkv.shape[2:]), *_tables(bias, head_dim, qkv.dtype))
  size = _block_size(count, num_heads)
  y = _call(_forward_kernel, arrays, result, num_heads, count, size)
  return [y.reshape(batch, -1, *y.shape[1:])]


def _call_backward(qkv, gradient, bias):
  """Runs the backward kernel; returns a list of gradients: of qkv, of the bias.

  That of the bias has a first axis of one entry.
  """
  count, (positions, _, num_heads, head_dim) = len(qkv) * qkv.shape[1], qkv.shape[2:]
  size = _block_size(count, num_heads)
  tables = _tables(bias, head_dim, qkv.dtype)
  flat, gradient = (a.reshape(count, *a.shape[2:]) for a in (qkv, gradient))
  results = (
    jax.ShapeDtypeStruct(flat.shape, qkv.dtype),
    jax.ShapeDtypeStruct((count // size, *tables[-1].shape), jnp.float32),
  )
  arrays = flat, *tables, gradient
  of_qkv, of_bias = _call(_backward_kernel, arrays, results, num_heads, count, size)
  of_bias = of_bias.sum(0, keepdims=True)[..., :positions, :positions]
  return [of_qkv.reshape(qkv.shape), of_bias]


@contextlib.contextmanager
def _without_notice() -> Iterator[None]:
  """Leaves out that a later jax will lack the backend: then the plain form runs."""
  with _ONE_AT_A_TIME, warnings.catch_warnings():
    warnings.filterwarnings("ignore", _NOTICE, DeprecationWarning)
    yield


_forward_p = lazy(
  "attend_forward", _call_forward, lambda qkv, _: qkv[:, :, :, 0], _without_notice
)
_backward_p = lazy(
  "attend_backward",
  _call_backward,
  lambda qkv, _, bias: (qkv, bias[None].astype(jnp.float32)),
  _without_notice,
)


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
  """Returns a program's head, first sequence, how to read tables, rows, and real ones.

  Tables are read for every sequence: they would not fit the registers for long.
  """
  head = pl.program_id(0)
  is_real = (jnp.arange(bias.shape[1]) < positions)[:, None]
  read = lambda: ((cosine[...], sine[...], turning[...]), bias[head])
  # There are more rows than positions, which jax 0.12 refuses of a constant beginning.
  rows = pl.ds(head * 0, bias.shape[1])
  return head, pl.program_id(1) * size, read, rows, is_real


def _load(ref, is_real):
  return triton.load(ref, mask=is_real, other=0.0)


def _store(ref, value, is_real):
  triton.store(ref, value.astype(ref.dtype), mask=is_real)


def _forward_kernel(size, qkv, *tables_and_result):
  *tables, y = tables_and_result
  positions, head_dim = qkv.shape[1], qkv.shape[-1]
  head, first, read, rows, is_real = _begin(size, *tables, positions)

  def body(i, _):
    angles, bias = read()
    q, k, v = (_load(qkv.at[first + i, rows, p, head, :], is_real) for p in _PARTS)
    q, k = (_rotate(a, angles, qkv.dtype) for a in (q, k))
    exponentials, total = _softmax(q, k, bias, head_dim**-0.5)
    result = triton.dot(exponentials.astype(v.dtype), v) / total
    _store(y.at[first + i, rows, head, :], result, is_real)
    return 0

  jax.lax.fori_loop(0, size, body, 0)


def _backward_kernel(size, qkv, *tables_and_results):
  *tables, gradient, of_qkv, of_bias = tables_and_results
  positions, head_dim = qkv.shape[1], qkv.shape[-1]
  head, first, read, rows, is_real = _begin(size, *tables, positions)

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
