"""Weights as of a new network, drawn by NumPy: nothing has to be compiled for them.

Compiling an initialisation, which is all random bits, takes longer than most tests.
"""

import math
import zlib

import jax
import jax.numpy as jnp
import numpy as np


def draw_leaf(path, leaf):
  """Returns an array for one `ShapeDtypeStruct` of params or batch_stats.

  Kernels are normal with a variance of one over the fan-in, gains and variances one,
  biases and means zero; jacobians are the identity.
  """
  name = jax.tree_util.keystr(path, simple=True, separator="/")
  if "jacobian" in name:
    unit = np.tile(np.eye(2).ravel(), leaf.shape[-1] // 4)
    return np.asarray(
      unit if name.endswith("bias") else np.zeros(leaf.shape), leaf.dtype
    )
  if name.endswith(("scale", "gain", "norm", "var")):
    return np.ones(leaf.shape, leaf.dtype)
  if name.endswith(("bias", "mean")):
    return np.zeros(leaf.shape, leaf.dtype)
  rng = np.random.default_rng(zlib.crc32(name.encode()))
  fan_in = max(1, math.prod(leaf.shape[:-1]))
  return np.asarray(rng.standard_normal(leaf.shape) * fan_in**-0.5, leaf.dtype)


def draw_variables(init, *inputs):
  """Returns what `init(key, *inputs)` returns, drawn by `draw_leaf`."""
  shapes = jax.eval_shape(init, jax.random.key(0), *inputs)
  drawn = jax.tree_util.tree_map_with_path(draw_leaf, shapes)
  return jax.tree.map(jnp.asarray, drawn)
