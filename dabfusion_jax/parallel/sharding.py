"""Device mesh, batch sharding and fully sharded parameters by a shape rule.

Axes are Auto: XLA infers every sharding inside the step from the shardings set here, so
model code does not mention them. Both axes split the batch; "fsdp" splits parameters,
optimizer state and EMA as well.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from absl import logging
from jax.experimental import mesh_utils

from data_pipeline.errors import UserError

AXES = ("data", "fsdp")
PyTree = Any


def make_mesh(axes: Sequence[tuple[str, int]]) -> jax.sharding.Mesh:
  """Returns the mesh over this run's devices; see `mesh_of`.

  A single process may use fewer devices than there are. With several processes all must
  be used: a process without a device of the mesh could not take part.
  """
  devices = jax.devices()
  sizes = [size for _, size in axes]
  if jax.process_count() == 1 and -1 not in sizes:
    devices = devices[: math.prod(sizes)]
  return mesh_of(devices, axes)


def mesh_of(
  devices: Sequence[Any], axes: Sequence[tuple[str, int]]
) -> jax.sharding.Mesh:
  """Returns a mesh of the given axis sizes; one size may be -1: all other devices.

  Where the devices are several TPU slices, "data" runs over slices first, so that only
  sums of gradients cross the slower network between them.

  Args:
    devices: all of them are used.
    axes: (name, size) of "data" and "fsdp", e.g. (("data", -1), ("fsdp", 1)).

  Raises:
    ValueError: other names, or sizes that do not fit the devices.
  """
  names = tuple(name for name, _ in axes)
  sizes = [size for _, size in axes]
  if names != AXES:
    raise UserError(f"mesh axes must be {AXES}, got {names}.")
  if sizes.count(-1) > 1 or any(size < 1 and size != -1 for size in sizes):
    raise UserError(f"mesh sizes must be positive, at most one -1; got {sizes}.")
  if -1 in sizes:
    fixed = math.prod(size for size in sizes if size != -1)
    sizes[sizes.index(-1)] = max(1, len(devices) // fixed)
  if math.prod(sizes) != len(devices):
    raise UserError(
      f"mesh {dict(axes)} does not fit {len(devices)} devices; the product of the "
      "sizes must be the number of devices."
    )
  num_slices = len({getattr(device, "slice_index", 0) for device in devices})
  if num_slices > 1 and devices[0].platform == "tpu":
    if sizes[0] % num_slices:
      raise UserError(
        f"mesh axis data of size {sizes[0]} does not divide over {num_slices} slices."
      )
    grid = mesh_utils.create_hybrid_device_mesh(
      (sizes[0] // num_slices, sizes[1]), (num_slices, 1), devices
    )
  else:
    grid = mesh_utils.create_device_mesh(sizes, devices)
  types = (jax.sharding.AxisType.Auto,) * len(AXES)
  return jax.sharding.Mesh(grid, AXES, axis_types=types)


def one_device_mesh() -> jax.sharding.Mesh:
  """Returns a mesh of one local device, for work beside the training step."""
  devices = np.array(jax.local_devices()[:1]).reshape(1, 1)
  types = (jax.sharding.AxisType.Auto,) * len(AXES)
  return jax.sharding.Mesh(devices, AXES, axis_types=types)


def batch_sharding(mesh: jax.sharding.Mesh) -> jax.NamedSharding:
  """Returns the sharding of a batch: its first axis over all devices."""
  return jax.NamedSharding(mesh, jax.P(AXES))


def constrain_batch(x: jax.Array) -> jax.Array:
  """Constrains an activation to be split over the devices by its first axis.

  It serves the few places where XLA would otherwise gather the activations of the whole
  batch on every device. It does nothing outside a mesh of `make_mesh` (`RowParallel`
  splits by itself), on one device, and if the batch does not divide by the mesh.
  """
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.axis_names != AXES or mesh.size == 1 or x.shape[0] % mesh.size:
    return x
  return jax.lax.with_sharding_constraint(x, jax.P(AXES))


def global_batch_spec(
  batch: PyTree, mesh: jax.sharding.Mesh, num_parts: int = 1
) -> PyTree:
  """Returns the shapes of the global batch, of which each process holds its share.

  Args:
    batch: this process's share.
    mesh: over which the global batch is split.
    num_parts: parts that a step takes it in, one after the other.

  Raises:
    UserError: unequal first axes, or a batch that does not divide over the mesh.
  """
  sizes = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(batch)}
  if len(sizes) != 1 or sizes == {()}:
    shapes = jax.tree.map(np.shape, batch)
    raise UserError(f"batch entries must share their first axis, got {shapes}.")
  num_processes = jax.process_count()
  global_size = sizes.pop()[0] * num_processes
  if global_size % (mesh.size * num_parts):
    shape = " x ".join(f"{name}={size}" for name, size in mesh.shape.items())
    parts = "" if num_parts == 1 else f" in {num_parts} parts"
    raise UserError(
      f"batch_size {global_size} does not divide over {mesh.size} devices ({shape})"
      f"{parts}; choose a multiple of {mesh.size * num_parts}."
    )
  return jax.tree.map(
    lambda x: jax.ShapeDtypeStruct((global_size, *x.shape[1:]), x.dtype), batch
  )


def place(abstract: PyTree, sharding: jax.NamedSharding) -> PyTree:
  """Returns the shapes of arrays or `ShapeDtypeStruct`s, with a sharding."""
  return jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), abstract
  )


def to_global_batch(batch: PyTree, sharding: jax.NamedSharding) -> PyTree:
  """Returns global arrays, of which this process provides its examples (numpy).

  Arrays of JAX are taken for global ones, and stay as they are.
  """

  def place(x):
    if isinstance(x, jax.Array):
      return x
    return jax.make_array_from_process_local_data(sharding, x)

  return jax.tree.map(place, batch)


def fsdp_axis(shape: Sequence[int], num_shards: int) -> int | None:
  """Returns the largest axis that `num_shards` divides, if any; the last of equals."""
  axes = [i for i, size in enumerate(shape) if size and size % num_shards == 0]
  return max(axes, key=lambda i: (shape[i], i), default=None)


def state_shardings(
  abstract: PyTree, mesh: jax.sharding.Mesh, min_bytes: int
) -> PyTree:
  """Returns shardings: arrays of at least `min_bytes` over "fsdp", others replicated.

  Arrays that are large enough but have no divisible axis are named in the log.
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
