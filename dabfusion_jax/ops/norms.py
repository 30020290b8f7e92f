"""Layer norm, and group norm over all frames of a clip."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_EPSILON = 1e-5


def layer_norm(
  x: Float[Array, "*b c"], gain: Float[Array, "c"]
) -> Float[Array, "*b c"]:
  """Applies layer norm over channels with a gain and no bias, in float32."""
  wide = x.astype(jnp.float32)
  wide = wide - wide.mean(-1, keepdims=True)
  wide = wide * jax.lax.rsqrt(jnp.square(wide).mean(-1, keepdims=True) + _EPSILON)
  return (wide * gain.reshape((1,) * (x.ndim - 1) + (-1,))).astype(x.dtype)


def group_norm(
  x: Float[Array, "b t h w c"],
  gain: Float[Array, "b f 1 1 c"],
  bias: Float[Array, "b f 1 1 c"],
  num_groups: int,
) -> Float[Array, "b t h w c"]:
  """Applies group norm over frames and pixels, then `gain` and `bias` (f is 1 or t).

  The variance is E[x^2] - E[x]^2, as in `flax.linen.GroupNorm`. Moments are taken per
  channel and then averaged over the groups, so that the channels remain one axis, and
  each element takes one multiply-add. Statistics and result are float32, whatever the
  dtype of `x`.
  """
  batch, *_, channels = x.shape
  wide = x.astype(jnp.float32)
  moments = jnp.stack([wide.mean((1, 2, 3)), jnp.square(wide).mean((1, 2, 3))])
  moments = moments.reshape(2, batch, num_groups, -1).mean(-1, keepdims=True)
  mean, square = jnp.broadcast_to(
    moments, (2, batch, num_groups, channels // num_groups)
  ).reshape(2, batch, 1, 1, 1, channels)
  gain = gain * jax.lax.rsqrt(jnp.maximum(square - mean**2, 0.0) + _EPSILON)
  bias = bias - gain * mean
  return wide * gain + bias
