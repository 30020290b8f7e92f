"""Guidance of the denoiser while sampling, and dynamic thresholding."""

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
  """Returns eps_null + guidance_scale (eps_cond - eps_null).

  Classifier-free guidance (Ho and Salimans 2022, 2207.12598); the paper is silent and
  LFDM samples with scale 1. Both predictions are made in one call on twice the batch;
  scale 1 needs only the conditional, scale 0 only the unconditional prediction.

  The two halves are interleaved, [cond_0, null_0, cond_1, ...], so that consecutive
  examples share their picture (`UNet3D` takes half as many pictures as clips) and a
  batch sharded over devices is not moved between them.

  Args:
    eps_fn: (x_t, t, condition) -> eps, for any batch size.
    x_t: noisy latent flow.
    t: timesteps.
    condition, null_condition: trees of arrays [b ...] with the same structure.
    guidance_scale: a Python number, since it decides what is computed.
  """
  if guidance_scale == 1:
    return eps_fn(x_t, t, condition)
  if guidance_scale == 0:
    return eps_fn(x_t, t, null_condition)

  def interleave(a: Array, b: Array) -> Array:
    return jnp.stack([a, b], axis=1).reshape(-1, *a.shape[1:])

  both = jax.tree.map(interleave, condition, null_condition)
  eps = eps_fn(interleave(x_t, x_t), interleave(t, t), both)
  eps = eps.reshape(-1, 2, *x_t.shape[1:])
  return eps[:, 1] + guidance_scale * (eps[:, 0] - eps[:, 1])


def dynamic_threshold(
  x0: Float[Array, "b ..."], threshold: float | None = 0.9, bound: float = 1.0
) -> Float[Array, "b ..."]:
  """Limits x0 to [-bound, bound].

  Clips to [-s, s] with s = max(bound, quantile of |x0| per example), then multiplies by
  bound / s: Saharia et al. 2022 (2205.11487), sec. 2.3.

  Args:
    x0: prediction of the latent flow.
    threshold: the quantile, 0.9 in the paper. None clips to `bound` instead: residual
      flow has few points that move, so its quantiles carry no information.
    bound: largest |x0| in the data, 1 for the absolute grid.
  """
  if threshold is None:
    return jnp.clip(x0, -bound, bound)
  magnitude = jnp.abs(x0).reshape(len(x0), -1)
  limit = jnp.maximum(jnp.quantile(magnitude, threshold, axis=1), bound)
  limit = limit.reshape(-1, *(1,) * (x0.ndim - 1))
  return jnp.clip(x0, -limit, limit) * (bound / limit)
