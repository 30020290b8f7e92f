"""What kernels of all platforms need: late tracing, and devices that share a batch."""

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import jax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

PyTree = Any


def lazy(
  name: str,
  call: Callable,
  result_shapes: Callable,
  context: Callable[[], contextlib.AbstractContextManager] = contextlib.nullcontext,
) -> Primitive:
  """Returns a primitive that traces `call` only where a program needs it.

  Programs for other platforms are traced with all forms of an operation, and tracing
  the kernels takes longer than all the rest of the denoiser.

  Args:
    name: of the primitive.
    call: maps arrays, and settings by name, to a list of arrays.
    result_shapes: maps the same to arrays that are shaped like the results.
    context: in which programs are lowered.
  """
  primitive = Primitive(name)
  primitive.multiple_results = True

  @primitive.def_abstract_eval
  def _(*avals, **settings):
    shapes = jax.eval_shape(functools.partial(result_shapes, **settings), *avals)
    return [ShapedArray(a.shape, a.dtype) for a in jax.tree.leaves(shapes)]

  @primitive.def_impl
  def _(*leaves, **settings):  # outside of jit
    return jax.jit(functools.partial(primitive.bind, **settings))(*leaves)

  def map_over_batch(leaves, axes, **settings):
    results = jax.vmap(functools.partial(call, **settings), axes)(*leaves)
    return results, [0] * len(results)

  def lower(*arguments, **settings):
    with context():
      return mlir.lower_fun(call, multiple_results=True)(*arguments, **settings)

  batching.primitive_batchers[primitive] = map_over_batch
  mlir.register_lowering(primitive, lower)
  return primitive


def divides(batch_size: int) -> bool:
  """Returns whether the devices of the mesh that is set can share a batch evenly.

  XLA does not split kernels, so on a mesh they need this.
  """
  return batch_size % _num_devices() == 0


def _num_devices() -> int:
  """Returns the number of devices that XLA splits arrays over."""
  mesh = jax.sharding.get_abstract_mesh()
  is_auto = set(mesh.axis_types) == {jax.sharding.AxisType.Auto}
  return mesh.size if is_auto else 1


def split_batch(function: Callable[..., PyTree], batched: PyTree, *shared: PyTree):
  """Returns function(batched, *shared), where each device has its own examples.

  First axes of `batched` and of the result are examples.
  """
  if _num_devices() == 1:
    return function(batched, *shared)
  examples = jax.P(jax.sharding.get_abstract_mesh().axis_names)
  return jax.shard_map(
    function,
    in_specs=(examples, *(jax.P() for _ in shared)),
    out_specs=examples,
    check_vma=False,
  )(batched, *shared)
