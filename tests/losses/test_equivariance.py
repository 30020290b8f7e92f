"""A detector that moves with the image has no equivariance error."""

import jax
import jax.numpy as jnp
import numpy as np

from dabfusion_jax.losses.equivariance import equivariance_errors, transform_frame
from dabfusion_jax.ops.grid import sample_transform, transform_points


@jax.jit
def _perfect_pair(key):
  """Returns what a perfect detector finds: p = T(p'), J = dT J' in D, p', J' in T.D."""
  transform_parameters = sample_transform(key)
  transform = lambda p: transform_points(p, *transform_parameters)
  transformed = jax.random.uniform(key, (4, 2), minval=-0.5, maxval=0.5)
  jacobian = jnp.eye(2)[None] + 0.2 * jax.random.normal(key, (4, 2, 2))
  slope = jax.vmap(jax.jacfwd(transform))(transformed)
  return (
    jax.vmap(transform)(transformed),
    slope @ jacobian,
    transformed,
    jacobian,
    transform_parameters,
  )


def test_a_perfect_detector_has_no_error_and_the_reverse_direction_has():
  p, j, p_new, j_new, t = _perfect_pair(jax.random.key(0))
  errors = jax.jit(equivariance_errors)
  value, slope = errors(p, j, p_new, j_new, *t)
  assert value < 1e-6 and slope < 1e-5
  value, slope = errors(p_new, j_new, p, j, *t)
  assert value > 1e-2 and slope > 1e-2


def test_the_frame_moves_with_its_transform():
  """A blob at p' in T.D is the blob at T(p') in D."""
  grid = jnp.stack(
    jnp.meshgrid(jnp.linspace(-1, 1, 64), jnp.linspace(-1, 1, 64)), axis=-1
  )
  theta, coefficients = jax.jit(sample_transform)(jax.random.key(3))
  p_new = jnp.array([0.2, -0.3])
  p = transform_points(p_new, theta, coefficients)
  blob = jnp.exp(-((grid - p[None, None]) ** 2).sum(-1, keepdims=True) / 0.01)
  moved = jax.jit(transform_frame)(blob, theta, coefficients)[..., 0]
  centre = jnp.einsum("hw,hwd->d", moved / moved.sum(), grid)
  np.testing.assert_allclose(centre, p_new, atol=0.02)
