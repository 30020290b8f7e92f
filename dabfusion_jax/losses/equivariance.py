"""Keypoints must move with the picture: FOMM's equivariance losses.

A frame D is warped *backward* by a known transform T, giving T.D. T therefore maps a
point of the transformed frame to where it came from in D, and the keypoints p' of T.D
must satisfy p = T(p'): the direction looks reversed and is not.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dabfusion_jax.ops.grid import (
  identity_grid,
  inverse_2x2,
  reflect_grid,
  transform_points,
)
from dabfusion_jax.ops.warp import warp


def transform_frame(
  image: Float[Array, "h w c"], theta: Float[Array, "2 3"], weights: Float[Array, "p"]
) -> Float[Array, "h w c"]:
  """T.D: samples the frame at T(u), mirrored at the border."""
  grid = transform_points(identity_grid(*image.shape[:2]), theta, weights)
  return warp(image, reflect_grid(grid))


def equivariance_errors(
  position: Float[Array, "k 2"],
  jacobian: Float[Array, "k 2 2"],
  transformed_position: Float[Array, "k 2"],
  transformed_jacobian: Float[Array, "k 2 2"],
  theta: Float[Array, "2 3"],
  weights: Float[Array, "p"],
) -> tuple[Float[Array, ""], Float[Array, ""]]:
  """Mean |p - T(p')| and mean |eye - J^-1 dT(p') J'| of one frame (FOMM, Eq. 7, 8)."""

  def transform(point):
    return transform_points(point, theta, weights)

  back = jax.vmap(transform)(transformed_position)
  slope = jax.vmap(jax.jacfwd(transform))(transformed_position)
  value_error = jnp.abs(position - back).mean()
  product = inverse_2x2(jacobian) @ (slope @ transformed_jacobian)
  jacobian_error = jnp.abs(jnp.eye(2)[None] - product).mean()
  return value_error, jacobian_error
