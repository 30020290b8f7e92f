"""Steering the denoiser in sampling: classifier-free guidance, dynamic threshold."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree


def guided_eps(
  eps_fn: Callable[[Array, Array, PyTree], Array],
  x_t: Float[Array, "b ..."],
  t: Int[Array, "b"],
  condition: PyTree,
  null_condition: PyTree,
  guidance_scale: float,
) -> Float[Array, "b ..."]:
  """eps_null + guidance_scale (eps_cond - eps_null), by one call on twice the batch.

  Ho and Salimans 2022 (2207.12598); the paper is silent and LFDM samples with scale 1.
  Scale 1 evaluates the conditional half alone and 0 the unconditional half alone.

  The two halves are interleaved, [cond_0, null_0, cond_1, ...]: neighbours share their
  picture (`UNet3D` takes half as many pictures as clips), and a batch sharded over
  devices stays where it is.

  Args:
    eps_fn: (x_t, t, condition) -> eps, for any batch size.
    condition, null_condition: trees of arrays [b ...] of the same structure.
    guidance_scale: a Python number, because it decides what is computed.
  """
  if guidance_scale == 1:
    return eps_fn(x_t, t, condition)
  if guidance_scale == 0:
    return eps_fn(x_t, t, null_condition)

  def interleave(a, b):
    return jnp.stack([a, b], axis=1).reshape(-1, *a.shape[1:])

  both = jax.tree.map(interleave, condition, null_condition)
  eps = eps_fn(interleave(x_t, x_t), interleave(t, t), both)
  eps = eps.reshape(-1, 2, *x_t.shape[1:])
  return eps[:, 1] + guidance_scale * (eps[:, 0] - eps[:, 1])


def dynamic_threshold(
  x0: Float[Array, "b ..."], percentile: float | None = 0.9, bound: float = 1.0
) -> Float[Array, "b ..."]:
  """Brings x0 into [-bound, bound].

  Clips it to [-s, s], s = max(bound, quantile of |x0| per example), and multiplies by
  bound / s: Saharia et al. 2022 (2205.11487), sec. 2.3; the paper takes 90 %.
  `percentile` None is a plain clip, for residual flow, where few points move and a
  quantile says nothing. `bound` is the largest |x0| of the data: 1 for the absolute
  grid.
  """
  if percentile is None:
    return jnp.clip(x0, -bound, bound)
  magnitude = jnp.abs(x0).reshape(len(x0), -1)
  limit = jnp.maximum(jnp.quantile(magnitude, percentile, axis=1), bound)
  limit = limit.reshape(-1, *(1,) * (x0.ndim - 1))
  return jnp.clip(x0, -limit, limit) * (bound / limit)
