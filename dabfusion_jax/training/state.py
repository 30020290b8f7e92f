"""The state that a run carries from step to step, created directly in its shardings."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from dabfusion_jax.parallel import sharding
from dabfusion_jax.stages.base import Stage

PyTree = Any


@struct.dataclass
class TrainState:
  """The whole state; random keys derive from seed and step, so none is stored.

  Fields are Any because JAX rebuilds the tree with shapes, shardings and tracers in it.
  """

  step: Any  # int32 [], updates done so far
  params: Any
  batch_stats: Any  # running BatchNorm statistics, {} without BatchNorm
  opt_state: Any
  ema_params: Any  # like params, float32


def make_init(
  stage: Stage, tx: optax.GradientTransformation, batch_spec: PyTree
) -> Callable[[jax.Array], TrainState]:
  """Returns a function key -> new state, to be traced by `eval_shape` or `jit`."""

  def init(key):
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), batch_spec)
    params, batch_stats = stage.init(key, zeros)
    ema_params = jax.tree.map(lambda x: x.astype(jnp.float32), params)
    return TrainState(
      jnp.zeros((), jnp.int32), params, batch_stats, tx.init(params), ema_params
    )

  return init


def abstract_state(
  init: Callable[[jax.Array], TrainState],
  key: jax.Array,
  mesh: jax.sharding.Mesh,
  min_bytes: int,
) -> TrainState:
  """Returns shapes, dtypes and shardings of the state; computes nothing."""
  abstract = jax.eval_shape(init, key)
  shardings = sharding.state_shardings(abstract, mesh, min_bytes)
  return jax.tree.map(
    lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
    abstract,
    shardings,
  )


def shardings_of(abstract: PyTree) -> PyTree:
  """Returns the shardings of a tree of `ShapeDtypeStruct`."""
  return jax.tree.map(lambda x: x.sharding, abstract)


def create_state(
  init: Callable[[jax.Array], TrainState], key: jax.Array, abstract: TrainState
) -> TrainState:
  """Returns a new state that never exists unsharded."""
  # It runs once, so optimising it is not worth the time: on CPU, compiling that of a
  # U-Net takes 30 s with XLA's usual effort and 13 s without.
  cpu = jax.default_backend() == "cpu"
  options = {"xla_backend_optimization_level": 0} if cpu else None
  create = jax.jit(init, out_shardings=shardings_of(abstract), compiler_options=options)
  return create(key)


def update_ema(ema_params: PyTree, params: PyTree, decay: float, step: Any) -> PyTree:
  """Returns the updated moving average, with a warm-up for the sake of short trainings.

  After `step` earlier updates the decay is min(decay, (1 + step) / (10 + step)): 0.1 at
  first, 0.99 near step 900.
  """
  decay = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
  return jax.tree.map(
    lambda e, p: e + (1.0 - decay) * (p.astype(e.dtype) - e), ema_params, params
  )
