"""Details of the picture survive a codec that loses them, and move with the flow."""

import jax
import jax.numpy as jnp
import numpy as np

from dabfusion_jax.ops.details import carry_details
from dabfusion_jax.ops.grid import identity_grid


def _images(seed, *shape):
  return jax.random.uniform(jax.random.key(seed), (*shape, 16, 16, 3))


def test_without_motion_every_frame_is_the_picture():
  picture, rebuilt = _images(0), _images(1)
  flow = jnp.broadcast_to(identity_grid(4, 4), (2, 4, 4, 2))
  frames = jnp.broadcast_to(rebuilt, (2, 16, 16, 3))
  np.testing.assert_allclose(
    carry_details(frames, picture, rebuilt, flow),
    np.broadcast_to(picture, (2, 16, 16, 3)),
    atol=1e-5,
  )


def test_a_codec_that_loses_nothing_is_left_alone():
  picture, frames = _images(0), _images(1, 3)
  flow = identity_grid(4, 4)[None] + 0.3 * jnp.sin(jnp.arange(3.0))[:, None, None, None]
  np.testing.assert_allclose(
    carry_details(frames, picture, picture, flow), frames, atol=1e-6
  )


def test_a_lost_dot_moves_with_the_flow_and_stays_in_range():
  rebuilt = jnp.full((16, 16, 3), 0.25)
  picture = rebuilt.at[8, 8].set(1.0)
  pixel = 2 / 15
  flow = identity_grid(16, 16)[None].at[..., 0].add(-3 * pixel)
  found = carry_details(rebuilt[None], picture, rebuilt, flow)[0]
  np.testing.assert_allclose(found, rebuilt.at[8, 11].set(1.0), atol=1e-5)
  bright = carry_details(jnp.ones((1, 16, 16, 3)), picture, rebuilt, flow)
  assert bright.max() <= 1.0
