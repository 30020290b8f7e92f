"""Grids, the random transform and the guarded inverse."""

import jax
import jax.numpy as jnp
import numpy as np

from dabfusion_jax.ops import grid as grids
from data_pipeline.records import latent_record

# As programs: single operations would be compiled one by one.
inverse_2x2 = jax.jit(grids.inverse_2x2)
transform_points = jax.jit(grids.transform_points)


def test_reflect_folds_at_the_border_pixels():
  points = np.float32([-1.5, -1.0, 0.25, 1.0, 1.2, 3.0])
  folded = jax.jit(grids.reflect_grid)(np.stack([points, points], -1))[:, 0]
  np.testing.assert_allclose(folded, [-0.5, -1, 0.25, 1, 0.8, -1], atol=1e-6)


def test_inverse_times_matrix_is_identity():
  matrix = jnp.eye(2)[None] + 0.3 * jax.random.normal(jax.random.key(0), (7, 2, 2))
  product = np.asarray(inverse_2x2(matrix)) @ np.asarray(matrix)
  np.testing.assert_allclose(product, np.broadcast_to(np.eye(2), (7, 2, 2)), atol=1e-5)


def test_inverse_of_a_singular_matrix_is_finite_with_its_gradient():
  singular = jnp.array([[1.0, 2.0], [2.0, 4.0]])
  assert np.isfinite(inverse_2x2(singular)).all()
  gradient = jax.jit(jax.grad(lambda m: inverse_2x2(m).sum()))(singular)
  assert np.isfinite(gradient).all()


def test_an_inverse_of_a_matrix_that_mirrors_keeps_its_sign():
  matrix = jnp.diag(jnp.array([1e-3, -1e-3]))  # of determinant -1e-6
  np.testing.assert_allclose(inverse_2x2(matrix), np.diag([10.0, -10.0]), rtol=1e-5)


def test_inverses_and_their_gradients_are_bounded():
  """Checks matrices of many sizes, more or less close to singular."""
  rng = np.random.default_rng(3)
  matrix = rng.standard_normal((500, 2, 2)).astype(np.float32)
  flat = np.float32(10.0 ** rng.uniform(-12, 0, (500, 1)))
  matrix[:, 1] = (1 - flat) * matrix[:, 0] + flat * matrix[:, 1]
  matrix[:4] = 0
  largest = np.abs(matrix).max((1, 2))
  inverse = inverse_2x2(matrix)
  assert (np.abs(inverse).max((1, 2)) <= 1.001e4 * largest).all()
  gradient = jax.jit(jax.grad(lambda m: inverse_2x2(m).sum()))(matrix)
  bound = 1e4 + 4.1e8 * largest**2  # of adj / det and adj d det / det^2
  assert (np.abs(gradient).max((1, 2)) <= bound).all()


def test_transform_without_noise_is_the_identity():
  sample = jax.jit(lambda key: grids.sample_transform(key, 0.0, 0.0))
  theta, coefficients = sample(jax.random.key(0))
  grid = grids.identity_grid(5, 7)
  np.testing.assert_allclose(
    transform_points(grid, theta, coefficients), grid, atol=1e-6
  )


def test_thin_plate_part_moves_x_and_y_equally():
  theta = jnp.eye(2, 3)
  coefficients = 0.1 * jax.random.normal(jax.random.key(1), (25,))
  grid = grids.identity_grid(6, 6)
  moved = transform_points(grid, theta, coefficients) - grid
  assert np.abs(moved).max() > 0.01
  np.testing.assert_allclose(moved[..., 0], moved[..., 1], atol=1e-6)


def test_transform_has_the_strength_of_the_reference():
  keys = jax.random.split(jax.random.key(2), 400)
  grid = grids.identity_grid(16, 16)

  def displacement(key):
    return transform_points(grid, *grids.sample_transform(key)) - grid

  # FOMM's, for sigma 0.05 and 0.005, is a standard deviation of 0.112.
  moved = jax.jit(jax.vmap(displacement))(keys)
  assert abs(float(np.std(moved)) - 0.112) < 0.01


def test_the_latent_cache_keeps_flow_relative_to_the_same_grid():
  """`data_pipeline` cannot import `ops`, so it has a grid of its own."""
  np.testing.assert_allclose(
    latent_record.identity_grid(5, 7), grids.identity_grid(5, 7), atol=1e-7
  )
