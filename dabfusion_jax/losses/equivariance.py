"""FOMM's equivariance losses: keypoints must move with the image.

A frame D is warped *backward* by a known transform T, which gives T.D. T therefore maps
a point of the transformed frame to its origin in D, and the keypoints p' of T.D must
satisfy p = T(p'): the direction looks reversed and is not.
"""

import functools

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
  image: Float[Array, "h w c"],
  theta: Float[Array, "2 3"],
  coefficients: Float[Array, "p"],
) -> Float[Array, "h w c"]:
  """Returns T.D: samples the frame at T(u), reflected at the border.

  `theta` and `coefficients` are those of `grid.sample_transform`.
  """
  grid = transform_points(identity_grid(*image.shape[:2]), theta, coefficients)
  return warp(image, reflect_grid(grid))


def equivariance_errors(
  position: Float[Array, "k 2"],
  jacobian: Float[Array, "k 2 2"],
  transformed_position: Float[Array, "k 2"],
  transformed_jacobian: Float[Array, "k 2 2"],
  theta: Float[Array, "2 3"],
  coefficients: Float[Array, "p"],
) -> tuple[Float[Array, ""], Float[Array, ""]]:
  """Returns mean |p - T(p')| and mean |1 - J^-1 dT(p') J'| (FOMM, Eq. 7, 8).

  Args:
    position, jacobian: p and J, keypoints of a frame D.
    transformed_position, transformed_jacobian: p' and J', keypoints of T.D.
    theta, coefficients: the transform T, see `grid.sample_transform`.
  """

  def transform(point: Float[Array, "2"]) -> Float[Array, "2"]:
    return transform_points(point, theta, coefficients)

  back = jax.vmap(transform)(transformed_position)
  slope = jax.vmap(jax.jacfwd(transform))(transformed_position)
  value_error = jnp.abs(position - back).mean()
  # Accelerators default to fewer digits than coordinates need.
  multiply = functools.partial(jnp.matmul, precision="highest")
  product = multiply(inverse_2x2(jacobian), multiply(slope, transformed_jacobian))
  jacobian_error = jnp.abs(jnp.eye(2)[None] - product).mean()
  return value_error, jacobian_error
