"""The warp: its pixel convention, and its two forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dabfusion_jax.ops.grid import identity_grid
from dabfusion_jax.ops.warp import warp, warp_by_map_coordinates


@pytest.mark.parametrize("size", [(5, 7), (32, 32), (128, 96)])
def test_warp_by_identity_is_identity(size):
  image = jax.random.normal(jax.random.key(0), (*size, 3))
  warped = jax.jit(warp)(image, identity_grid(*size))
  np.testing.assert_allclose(warped, image, atol=1.5e-4)


def test_fast_warp_equals_map_coordinates_with_its_gradients():
  image = jax.random.normal(jax.random.key(0), (8, 6, 5))
  # The grid extends well beyond [-1, 1], where both must be zero.
  grid = 1.5 * jax.random.normal(jax.random.key(1), (9, 4, 2))
  weight = jax.random.normal(jax.random.key(2), (9, 4, 5))

  def run(form):
    """Returns the gradients of a weighted sum, and the picture."""

    def loss(image, grid):
      warped = form(image, grid)
      return (warped * weight).sum(), warped

    return jax.jit(jax.grad(loss, (0, 1), has_aux=True))(image, grid)

  (fast, of_fast), (slow, of_slow) = run(warp), run(warp_by_map_coordinates)
  np.testing.assert_allclose(of_fast, of_slow, atol=1e-5)
  np.testing.assert_allclose(fast[0], slow[0], atol=1e-5)
  np.testing.assert_allclose(fast[1], slow[1], atol=1e-4)


def test_x_is_the_first_coordinate():
  image = jnp.arange(4.0)[None, :, None] * jnp.ones((3, 1, 1))  # grows along x
  right = identity_grid(3, 4) + jnp.array([[[2.0 / 3.0, 0.0]]])  # one column
  np.testing.assert_allclose(warp(image, right)[:, :3], image[:, 1:], atol=1e-5)


def test_outside_is_zero_and_border_pixels_have_full_weight():
  ones = jnp.ones((4, 4, 1))
  corner = jnp.array([[[-1.0, -1.0]], [[1.0, -1.0]], [[-1.8, 0.0]]])
  np.testing.assert_allclose(warp(ones, corner).ravel(), [1, 1, 0], atol=1e-6)


def test_warp_rejects_flow_in_channel_first_order(monkeypatch):
  monkeypatch.delattr(warp, "__no_type_check__", raising=False)  # after many calls
  with pytest.raises(Exception, match="grid"):
    warp(jnp.zeros((8, 8, 3)), jnp.zeros((2, 8, 8)))
