"""TPU kernels of layers that treat each of m sequences by itself, [b m s c].

A kernel takes a few sequences at a time through a whole layer in on-chip memory, so
that only the layer's input and output are moved. The backward kernel does the same work
again and differentiates it. XLA would write every array in between to memory, and pad
it: the last two axes to multiples of 8 and 128.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import pallas as pl
from jax.extend.core import Primitive
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from dabfusion_jax.ops.kernel_calls import lazy, split_batch

PyTree = Any


class Block(NamedTuple):
  """What a kernel does with a few of the sequences at a time.

  Attributes:
    function: maps ([size s c], params, tables, *settings) to [size s c], all float32.
      Pallas must know what it consists of; matrices are multiplied by `dot`.
    settings: hashable.
    size: sequences at a time; divides m.
    flops: operations per sequence. XLA's analysis cannot see them.
  """

  function: Callable
  settings: tuple[Any, ...]
  size: int
  flops: int

  def apply(self, x: Array, params: PyTree, tables: PyTree) -> Array:
    """Calls the function with its settings."""
    return self.function(x, params, tables, *self.settings)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def dot(
  a: Float[Array, "*b i j"],
  b: Float[Array, "*b k l"],
  axes: tuple[int, int],
  dtype: DTypeLike,
) -> Float[Array, "*b m n"]:
  """Multiplies float32 matrices in a kernel, or batches of them along a first axis.

  The operands are rounded to `dtype`, in the backward pass as well; sums are float32.

  Args:
    a: the left matrices.
    b: the right matrices.
    axes: the axis of each that is summed over, of the last two: (1, 0) for a b, (1, 1)
      for a b^T, (0, 0) for a^T b.
    dtype: of the products.
  """
  batch = tuple(range(a.ndim - 2))
  contracting = tuple((axis + len(batch),) for axis in axes)
  return jax.lax.dot_general(
    a.astype(dtype),
    b.astype(dtype),
    (contracting, (batch, batch)),
    preferred_element_type=jnp.float32,
  )


def _dot_forward(a, b, axes, dtype):
  return dot(a, b, axes, dtype), (a, b)


def _dot_backward(axes, dtype, saved, gradient):
  a, b = saved
  if axes == (1, 0):
    return dot(gradient, b, (1, 1), dtype), dot(a, gradient, (0, 0), dtype)
  if axes == (1, 1):
    return dot(gradient, b, (1, 0), dtype), dot(gradient, a, (0, 0), dtype)
  return dot(b, gradient, (1, 1), dtype), dot(a, gradient, (1, 0), dtype)


dot.defvjp(_dot_forward, _dot_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def apply_in_kernel(
  block: Block, x: Float[Array, "b m s c"], params: PyTree, tables: PyTree
) -> Float[Array, "b m s c"]:
  """Applies `block` to all sequences, on each device to those of its own examples.

  Has no derivatives in forward mode (`jax.jvp`).

  Args:
    block: the layer.
    x: the input.
    params: matrices that get gradients.
    tables: matrices that get none.
  """
  return split_batch(functools.partial(_forward_kernel, block), (x,), params, tables)


def _forward(block, x, params, tables):
  return apply_in_kernel(block, x, params, tables), (x, params, tables)


def _backward(block, saved, gradient):
  x, params, tables = saved
  kernel = functools.partial(_backward_kernel, block)
  of_x, of_params = split_batch(kernel, (x, gradient), params, tables)
  of_params = jax.tree.map(lambda g, p: g.sum(0).astype(p.dtype), of_params, params)
  return of_x, of_params, jax.tree.map(jnp.zeros_like, tables)


apply_in_kernel.defvjp(_forward, _backward)


def _forward_kernel(block, batched, params, tables):
  return _bind(_forward_p, block, *batched, params, tables)[0]


def _backward_kernel(block, batched, params, tables):
  """Returns the gradient of x, and those of `params` with a first axis of one entry."""
  of_x, *of_params = _bind(_backward_p, block, *batched, params, tables)
  return of_x, jax.tree.unflatten(jax.tree.structure(params), of_params)


def _bind(primitive, block: Block, *arguments: PyTree) -> list[Array]:
  leaves, structure = jax.tree.flatten(arguments)
  return primitive.bind(*leaves, block=block, structure=structure)


def _call_forward(*leaves, block, structure):
  """Runs the forward kernel; returns its result in a list."""
  x, params, tables = jax.tree.unflatten(structure, leaves)

  def kernel(x, params, tables, y):
    y[...] = block.apply(_read(x), _read(params), _read(tables)).astype(y.dtype)

  y = pl.pallas_call(
    kernel,
    grid=_grid(block, x),
    in_specs=[_sequences(block, x), *jax.tree.map(_whole, (params, tables))],
    out_specs=_sequences(block, x),
    out_shape=jax.ShapeDtypeStruct(x.shape, x.dtype),
    cost_estimate=_cost(block, x, (x, x, params, tables), 1),
  )(x, params, tables)
  return [y]


def _call_backward(*leaves, block, structure):
  """Runs the backward kernel; returns a list of the gradients of x and `params`."""
  x, gradient, params, tables = jax.tree.unflatten(structure, leaves)

  def kernel(x, gradient, params, tables, of_x, of_params):
    tables = _read(tables)
    _, pull = jax.vjp(lambda x, p: block.apply(x, p, tables), _read(x), _read(params))
    gradient, added = pull(_read(gradient))
    of_x[...] = gradient.astype(of_x.dtype)

    @pl.when((pl.program_id(0) == 0) & (pl.program_id(1) == 0))
    def _():
      jax.tree.map(lambda ref: ref.__setitem__(..., jnp.zeros_like(ref)), of_params)

    jax.tree.map(
      lambda ref, new: ref.__setitem__(..., ref[...] + new), of_params, added
    )

  sum_of = lambda a: pl.BlockSpec((None, *a.shape), lambda i, j: (0,) * (a.ndim + 1))
  sums = jax.tree.map(_sum_shape, params)
  moved = (x, x, x, params, tables, sums)
  gradients = pl.pallas_call(
    kernel,
    grid=_grid(block, x),
    in_specs=[
      *[_sequences(block, x)] * 2,
      *jax.tree.map(_whole, (params, tables)),
    ],
    out_specs=(_sequences(block, x), jax.tree.map(sum_of, params)),
    out_shape=(jax.ShapeDtypeStruct(x.shape, x.dtype), sums),
    # The forward pass again, and two products for each of its.
    cost_estimate=_cost(block, x, moved, 3),
  )(x, gradient, params, tables)
  return jax.tree.leaves(gradients)


def _sum_shape(a: Any) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct((1, *a.shape), jnp.float32)


def _lazy(name: str, call: Callable, result_shapes: Callable) -> Primitive:
  """Returns a primitive of the leaves of `call`'s and `result_shapes`' arguments."""

  def shapes(*avals, block, structure):
    return result_shapes(*jax.tree.unflatten(structure, avals))

  return lazy(name, call, shapes)


_forward_p = _lazy("forward_kernel", _call_forward, lambda x, params, tables: x)
_backward_p = _lazy(
  "backward_kernel",
  _call_backward,
  lambda x, gradient, params, tables: (x, jax.tree.map(_sum_shape, params)),
)


def _read(refs: PyTree) -> PyTree:
  return jax.tree.map(lambda ref: ref[...].astype(jnp.float32), refs)


def _grid(block: Block, x: Float[Array, "b m s c"]) -> tuple[int, int]:
  """Returns the numbers of examples and of blocks in each."""
  return x.shape[0], x.shape[1] // block.size


def _sequences(block: Block, x: Float[Array, "b m s c"]) -> pl.BlockSpec:
  """Returns how the grid goes through the sequences."""
  return pl.BlockSpec((None, block.size, *x.shape[2:]), lambda i, j: (i, j, 0, 0))


def _whole(a: Array | np.ndarray) -> pl.BlockSpec:
  """Returns how the grid reads what all blocks share: once, so one buffer will do."""
  once = pl.Buffered(1)
  return pl.BlockSpec(a.shape, lambda i, j: (0,) * a.ndim, pipeline_mode=once)


def _cost(block: Block, x, moved: PyTree, passes: int) -> pl.CostEstimate:
  """Tells XLA's analysis what a kernel does: `passes` times the work of `block`."""
  return pl.CostEstimate(
    flops=passes * block.flops * math.prod(x.shape[:2]),
    transcendentals=0,
    bytes_accessed=sum(_padded_bytes(a) for a in jax.tree.leaves(moved)),
  )


def _padded_bytes(a: Array | np.ndarray | jax.ShapeDtypeStruct) -> int:
  """Returns the memory of an array on a TPU, in tiles of 8 x 128 elements."""
  *outer, rows, lanes = a.shape
  size = math.prod(outer) * -(-rows // 8) * 8 * -(-lanes // 128) * 128
  return size * a.dtype.itemsize
