"""Sampling grids and transforms of them.

Convention, here and everywhere else: a grid holds (x, y) in [-1, 1], where -1 and +1
are the *centres* of the border pixels (corner-aligned): column j of w lies at
2 j / (w - 1) - 1. Coordinates are float32, whatever the dtype of the networks.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

_CONTROL_POINTS = 5  # per side; FOMM


def identity_grid(height: int, width: int) -> Float[Array, "h w 2"]:
  """Returns the grid at which every pixel samples itself, (x, y) last."""
  x = jnp.linspace(-1.0, 1.0, width, dtype=jnp.float32)
  y = jnp.linspace(-1.0, 1.0, height, dtype=jnp.float32)
  return jnp.stack(jnp.meshgrid(x, y), axis=-1)


def reflect_grid(grid: Float[Array, "*n 2"]) -> Float[Array, "*n 2"]:
  """Reflects coordinates outside [-1, 1] at the centres of the border pixels."""
  return 1.0 - jnp.abs(jnp.mod(grid + 1.0, 4.0) - 2.0)


def inverse_2x2(
  matrix: Float[Array, "*n 2 2"], min_determinant: float = 1e-4
) -> Float[Array, "*n 2 2"]:
  """Inverts 2 x 2 matrices in closed form, with bounded entries.

  A determinant closer to zero than `min_determinant` is replaced by that value with the
  same sign, so that neither the result nor its gradient can blow up.
  """
  a, b = matrix[..., 0, 0], matrix[..., 0, 1]
  c, d = matrix[..., 1, 0], matrix[..., 1, 1]
  determinant = a * d - b * c
  floor = jnp.where(determinant < 0, -min_determinant, min_determinant)
  determinant = jnp.where(jnp.abs(determinant) < min_determinant, floor, determinant)
  adjugate = jnp.stack([jnp.stack([d, -b], -1), jnp.stack([-c, a], -1)], -2)
  return adjugate / determinant[..., None, None]


def sample_transform(
  key: jax.Array, sigma_affine: float = 0.05, sigma_tps: float = 0.005
) -> tuple[Float[Array, "2 3"], Float[Array, "p"]]:
  """Draws an affine plus thin-plate transform (of FOMM's equivariance losses).

  Args:
    key: random key.
    sigma_affine: standard deviation of the affine part around the identity.
    sigma_tps: standard deviation of the thin-plate coefficients.

  Returns:
    The affine part `theta` and one thin-plate coefficient per control point of a 5 x 5
    lattice on [-1, 1]^2, row by row.
  """
  affine_key, tps_key = jax.random.split(key)
  theta = jnp.eye(2, 3) + sigma_affine * jax.random.normal(affine_key, (2, 3))
  coefficients = sigma_tps * jax.random.normal(tps_key, (_CONTROL_POINTS**2,))
  return theta, coefficients


def transform_points(
  points: Float[Array, "*n 2"],
  theta: Float[Array, "2 3"],
  coefficients: Float[Array, "p"],
) -> Float[Array, "*n 2"]:
  """Applies the transform of `sample_transform` to points (x, y) in [-1, 1].

  The radial basis r^2 log(r + 1e-6) is of the L1 distance, and the thin-plate term is
  a scalar that is added to both x and y. Both are FOMM's and kept because its
  equivariance losses were tuned with them.
  """
  side = np.linspace(-1.0, 1.0, _CONTROL_POINTS, dtype=np.float32)
  lattice = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
  # Accelerators default to fewer digits than coordinates need.
  linear = jnp.einsum("ij,...j->...i", theta[:, :2], points, precision="highest")
  affine = linear + jnp.reshape(theta[:, 2], (1,) * (points.ndim - 1) + (2,))
  control = jnp.asarray(lattice).reshape((1,) * (points.ndim - 1) + lattice.shape)
  distance = jnp.abs(points[..., None, :] - control).sum(-1)
  basis = distance**2 * jnp.log(distance + 1e-6)
  bent = jnp.einsum("...p,p->...", basis, coefficients, precision="highest")
  return affine + bent[..., None]
