"""Linear attention for GPUs, on trial: two kernels around small matrices per sequence.

Written in Pallas for its Triton backend. With E the softmax of the keys over positions,
linear attention is softmax(q) E^T x W, where W are the weights for values and of the
projection back, which are multiplied by E^T x, [d c] per head. So no queries, keys or
values are written to memory: `gather` returns E^T x, and `spread` multiplies softmax(q)
by a matrix per head and adds the heads. The backward kernels do the same work again.
Channels and positions are powers of two, and channels few: they stay on the chip.
"""

import functools

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Array, Float

from dabfusion_jax.ops.norms import layer_norm

_ROWS = 64  # positions at a time
_LOWEST = -1e30
_WARPS = 4


def linear_attention(
  x: Float[Array, "b m s c"],
  gain: Float[Array, "c"],
  qkv: Float[Array, "c 3 n d"],
  out: Float[Array, "i c"],
) -> Float[Array, "b m s c"]:
  """Applies linear attention; i = n d."""
  to_q, to_k, to_v = jnp.moveaxis(qkv, 1, 0)
  y = layer_norm(x, gain).reshape(-1, *x.shape[2:])
  context = jnp.einsum("mndc,cne->mnde", gather(y, to_k).astype(x.dtype), to_v)
  out = out.reshape(*qkv.shape[2:], -1)
  update = jnp.einsum("mnde,nec->mndc", context, out)
  return spread(y, to_q, update).reshape(x.shape)


@jax.custom_vjp
def gather(
  x: Float[Array, "m s c"], kernel: Float[Array, "c n d"]
) -> Float[Array, "m n d c"]:
  """Averages the input by the softmax of keys over positions, in float32."""
  return _gather_saving(x, kernel)[0]


def _gather_saving(x, kernel):
  count, _, channels = x.shape
  num_heads, head_dim = kernel.shape[1:]
  wide = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.float32)
  results = wide(count, num_heads, head_dim, channels), wide(count, num_heads, head_dim)
  y, log_total = _call(_gather_forward, (num_heads, count), (x, kernel), results)
  return y, (x, kernel, y, log_total)


def _gather_backward(saved, gradient):
  x, kernel, y, log_total = saved
  along = (gradient * y).sum(-1)
  arrays = x, kernel, log_total, along, gradient.astype(x.dtype)
  of_x, of_kernel = _call(
    _gather_backward_kernel, (kernel.shape[1], len(x)), arrays, _results(x, kernel)
  )
  return _sum(of_x, x.dtype), of_kernel.sum(0).astype(kernel.dtype)


gather.defvjp(_gather_saving, _gather_backward)


@jax.custom_vjp
def spread(
  x: Float[Array, "m s c"],
  kernel: Float[Array, "c n d"],
  update: Float[Array, "m n d c"],
) -> Float[Array, "m s c"]:
  """Multiplies the softmax of queries, over sqrt(d), by `update`; adds the heads."""
  grid = x.shape[1] // _rows(x), len(x)
  result = jax.ShapeDtypeStruct(x.shape, x.dtype)
  return _call(_spread_forward, grid, (x, kernel, update), result)


def _spread_saving(x, kernel, update):
  return spread(x, kernel, update), (x, kernel, update)


def _spread_backward(saved, gradient):
  x, kernel, update = saved
  of_update = jax.ShapeDtypeStruct(update.shape, update.dtype)
  of_x, of_kernel, of_update = _call(
    _spread_backward_kernel,
    (kernel.shape[1], len(x)),
    (x, kernel, update, gradient),
    (*_results(x, kernel), of_update),
  )
  return _sum(of_x, x.dtype), of_kernel.sum(0).astype(kernel.dtype), of_update


spread.defvjp(_spread_saving, _spread_backward)


def _rows(x: Float[Array, "m s c"]) -> int:
  """Returns the number of positions at a time."""
  return min(_ROWS, x.shape[1])


def _results(x, kernel) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
  """Returns shapes of gradients: of x per head, and of the kernel per sequence."""
  return (
    jax.ShapeDtypeStruct((kernel.shape[1], *x.shape), x.dtype),
    jax.ShapeDtypeStruct((len(x), *kernel.shape), jnp.float32),
  )


def _sum(x: Float[Array, "n m s c"], dtype) -> Float[Array, "m s c"]:
  return x.astype(jnp.float32).sum(0).astype(dtype)


def _call(kernel, grid: tuple[int, int], arrays, results):
  """Runs a kernel that knows how many positions it takes at a time."""
  return pl.pallas_call(
    functools.partial(kernel, _rows(arrays[0])),
    grid=grid,
    out_shape=results,
    compiler_params=triton.CompilerParams(num_warps=_WARPS, num_stages=2),
  )(*arrays)


def _narrow(x, dtype):
  """Rounds as an array in memory would be."""
  return x.astype(dtype).astype(jnp.float32)


def _queries(x, weights) -> Float[Array, "s d"]:
  """Returns the softmax of a head's queries, in float32."""
  q = _narrow(triton.dot(x, weights), x.dtype)
  exponentials = jnp.exp(q - q.max(-1)[:, None])
  return exponentials / exponentials.sum(-1)[:, None]


def _gather_forward(rows, x, kernel, y, log_total):
  head, sequence = pl.program_id(0), pl.program_id(1)
  channels, _, head_dim = kernel.shape
  weights = kernel[:, head, :]

  def body(i, carry):
    largest, total, sums = carry
    block = x[sequence, pl.ds(i * rows, rows), :]
    k = _narrow(triton.dot(block, weights), x.dtype)
    larger = jnp.maximum(largest, k.max(0))
    exponentials, kept = jnp.exp(k - larger[None]), jnp.exp(largest - larger)
    added = triton.dot(exponentials.astype(x.dtype), block, trans_a=True)
    total = total * kept + exponentials.sum(0)
    return larger, total, sums * kept[:, None] + added

  begin = (
    jnp.full((head_dim,), _LOWEST, jnp.float32),
    jnp.zeros((head_dim,), jnp.float32),
    jnp.zeros((head_dim, channels), jnp.float32),
  )
  turns = x.shape[1] // rows
  largest, total, sums = jax.lax.fori_loop(0, turns, body, begin)
  y[sequence, head] = sums / total[:, None]
  log_total[sequence, head] = largest + jnp.log(total)


def _gather_backward_kernel(
  rows, x, kernel, log_total, along, gradient, of_x, of_kernel
):
  head, sequence = pl.program_id(0), pl.program_id(1)
  weights, of_y = kernel[:, head, :], gradient[sequence, head]
  log_total, along = log_total[sequence, head][None], along[sequence, head][None]

  def body(i, total):
    place = pl.ds(i * rows, rows)
    block = x[sequence, place, :]
    k = _narrow(triton.dot(block, weights), x.dtype)
    shares = jnp.exp(k - log_total)
    of_shares = triton.dot(block, of_y, trans_b=True)
    of_k = (shares * (of_shares - along)).astype(x.dtype)
    update = triton.dot(shares.astype(x.dtype), of_y)
    update += triton.dot(of_k, weights, trans_b=True)
    of_x[head, sequence, place, :] = update.astype(of_x.dtype)
    return total + triton.dot(block, of_k, trans_a=True)

  zeros = jnp.zeros(weights.shape, jnp.float32)
  total = jax.lax.fori_loop(0, x.shape[1] // rows, body, zeros)
  of_kernel[sequence, :, head, :] = total


def _spread_forward(rows, x, kernel, update, y):
  place, sequence = pl.ds(pl.program_id(0) * rows, rows), pl.program_id(1)
  _, num_heads, head_dim = kernel.shape
  block = x[sequence, place, :]

  def body(head, total):
    q = _queries(block, kernel[:, head, :]) * head_dim**-0.5
    return total + triton.dot(q.astype(x.dtype), update[sequence, head])

  total = jax.lax.fori_loop(0, num_heads, body, jnp.zeros(block.shape, jnp.float32))
  y[sequence, place, :] = total.astype(y.dtype)


def _spread_backward_kernel(
  rows, x, kernel, update, gradient, of_x, of_kernel, of_update
):
  head, sequence = pl.program_id(0), pl.program_id(1)
  weights, matrix = kernel[:, head, :], update[sequence, head]
  scale = kernel.shape[-1] ** -0.5

  def body(i, totals):
    place = pl.ds(i * rows, rows)
    block, of_y = x[sequence, place, :], gradient[sequence, place, :]
    q = _queries(block, weights)
    of_shares = triton.dot(of_y, matrix, trans_b=True) * scale
    of_q = q * (of_shares - (q * of_shares).sum(-1)[:, None])
    of_q = of_q.astype(x.dtype)
    of_block = triton.dot(of_q, weights, trans_b=True)
    of_x[head, sequence, place, :] = of_block.astype(of_x.dtype)
    shares = (q * scale).astype(x.dtype)
    added = (
      triton.dot(block, of_q, trans_a=True),
      triton.dot(shares, of_y, trans_a=True),
    )
    return totals[0] + added[0], totals[1] + added[1]

  zeros = [jnp.zeros(a.shape, jnp.float32) for a in (weights, matrix)]
  of_weights, of_matrix = jax.lax.fori_loop(0, x.shape[1] // rows, body, tuple(zeros))
  of_kernel[sequence, :, head, :] = of_weights
  of_update[sequence, head] = of_matrix.astype(of_update.dtype)
