"""Device mesh, batch sharding and fully sharded parameters by a shape rule.

Axes are Auto: XLA infers every sharding inside the step from the edges set here, so
model code holds no sharding words. Both axes split the batch; "fsdp" splits
parameters, optimiser state and EMA as well.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from absl import logging

AXES = ("data", "fsdp")
PyTree = Any


def make_mesh(axes: Sequence[tuple[str, int]]) -> jax.sharding.Mesh:
  """Mesh of the given axis sizes, one of which may be -1: all remaining devices.

  Args:
    axes: (name, size) of "data" and "fsdp", e.g. (("data", -1), ("fsdp", 1)).

  Raises:
    ValueError: other names, or sizes that do not fit the devices.
  """
  names = tuple(name for name, _ in axes)
  sizes = [size for _, size in axes]
  if names != AXES:
    raise ValueError(f"mesh axes must be {AXES}, got {names}.")
  if sizes.count(-1) > 1 or any(size < 1 and size != -1 for size in sizes):
    raise ValueError(f"mesh sizes must be positive, at most one -1; got {sizes}.")
  num_devices = jax.device_count()
  fixed = math.prod(size for size in sizes if size != -1)
  if -1 in sizes:
    sizes[sizes.index(-1)] = max(1, num_devices // fixed)
  used = math.prod(sizes)
  # Fewer devices than there are is fine on one host; a host without a device of
  # the mesh could not take part.
  exact = -1 in (size for _, size in axes) or jax.process_count() > 1
  if used > num_devices or (exact and used != num_devices):
    raise ValueError(
      f"mesh {dict(axes)} does not fit {num_devices} devices; the product of the "
      "sizes must be the number of devices."
    )
  return jax.make_mesh(
    tuple(sizes), names, axis_types=(jax.sharding.AxisType.Auto,) * len(names)
  )


def one_device_mesh() -> jax.sharding.Mesh:
  """The same axes over one local device: for work beside the training step."""
  devices = np.array(jax.local_devices()[:1]).reshape(1, 1)
  types = (jax.sharding.AxisType.Auto,) * len(AXES)
  return jax.sharding.Mesh(devices, AXES, axis_types=types)


def batch_sharding(mesh: jax.sharding.Mesh) -> jax.NamedSharding:
  """Sharding of a batch: the first axis over all devices."""
  return jax.NamedSharding(mesh, jax.P(AXES))


def global_batch_spec(batch: PyTree, mesh: jax.sharding.Mesh) -> PyTree:
  """Shapes of the global batch of which each process holds one like `batch`.

  Raises:
    ValueError: unequal first axes, or a batch that does not divide over the mesh.
  """
  sizes = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(batch)}
  if len(sizes) != 1 or sizes == {()}:
    shapes = jax.tree.map(np.shape, batch)
    raise ValueError(f"batch entries must share their first axis, got {shapes}.")
  num_processes = jax.process_count()
  global_size = sizes.pop()[0] * num_processes
  if global_size % mesh.size:
    shape = " x ".join(f"{name}={size}" for name, size in mesh.shape.items())
    raise ValueError(
      f"batch_size {global_size} does not divide over {mesh.size} devices ({shape}); "
      f"choose a multiple of {mesh.size}."
    )
  return jax.tree.map(
    lambda x: jax.ShapeDtypeStruct((global_size, *x.shape[1:]), x.dtype), batch
  )


def to_global_batch(batch: PyTree, sharding: jax.NamedSharding) -> PyTree:
  """Global arrays from this process's examples (numpy, first axis = example)."""
  return jax.tree.map(
    lambda x: jax.make_array_from_process_local_data(sharding, x), batch
  )


def fsdp_axis(shape: Sequence[int], num_shards: int) -> int | None:
  """The largest axis that divides into `num_shards`, the last of equals, or None."""
  axes = [i for i, size in enumerate(shape) if size and size % num_shards == 0]
  return max(axes, key=lambda i: (shape[i], i), default=None)


def state_shardings(
  abstract: PyTree, mesh: jax.sharding.Mesh, min_bytes: int
) -> PyTree:
  """Shards every array of at least `min_bytes` over "fsdp"; the rest is replicated.

  Arrays large enough but without a divisible axis are named in the log.
  """
  num_shards = mesh.shape["fsdp"]
  stuck, num_sharded = [], 0

  def rule(path, leaf):
    nonlocal num_sharded
    replicated = jax.NamedSharding(mesh, jax.P())
    if num_shards == 1 or math.prod(leaf.shape) * leaf.dtype.itemsize < min_bytes:
      return replicated
    axis = fsdp_axis(leaf.shape, num_shards)
    if axis is None:
      name = jax.tree_util.keystr(path, simple=True, separator="/")
      stuck.append(f"{name} {leaf.shape}")
      return replicated
    num_sharded += 1
    return jax.NamedSharding(mesh, jax.P(*[None] * axis, "fsdp"))

  shardings = jax.tree_util.tree_map_with_path(rule, abstract)
  if num_shards > 1:
    logging.info(
      "FSDP over %d devices: %d of %d arrays sharded; no divisible axis: %s",
      num_shards,
      num_sharded,
      len(jax.tree.leaves(abstract)),
      ", ".join(stuck) or "none",
    )
  return shardings


def host_copy(tree: PyTree, mesh: jax.sharding.Mesh) -> PyTree:
  """Whole arrays as numpy in every process; all processes must call it."""
  return jax.device_get(jax.device_put(tree, jax.NamedSharding(mesh, jax.P())))
