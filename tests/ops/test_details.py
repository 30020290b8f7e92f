"""Details that the codec loses are added back and move with the flow."""

import jax
import jax.numpy as jnp
import numpy as np

from dabfusion_jax.ops import details
from dabfusion_jax.ops.grid import identity_grid
from dabfusion_jax.ops.pixels import from_uint8, to_uint8

carry_details = jax.jit(details.carry_details)


def _images(seed, *shape):
  rng = np.random.default_rng(seed)
  return rng.random((*shape, 16, 16, 3), np.float32)


def test_without_motion_every_frame_is_the_picture():
  picture, rebuilt = _images(0), _images(1)
  flow = np.broadcast_to(identity_grid(4, 4), (2, 4, 4, 2))
  frames = np.broadcast_to(rebuilt, (2, 16, 16, 3))
  np.testing.assert_allclose(
    carry_details(frames, picture, rebuilt, flow),
    np.broadcast_to(picture, (2, 16, 16, 3)),
    atol=1e-5,
  )


def test_nothing_is_added_if_the_codec_loses_nothing():
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
  carried = carry_details(rebuilt[None], picture, rebuilt, flow)[0]
  np.testing.assert_allclose(carried, rebuilt.at[8, 11].set(1.0), atol=1e-5)
  bright = carry_details(jnp.ones((1, 16, 16, 3)), picture, rebuilt, flow)
  assert bright.max() <= 1.0


def test_bytes_get_the_same_details_as_floats():
  draw = np.random.default_rng(0).integers
  frames, picture, rebuilt = (
    draw(0, 256, shape, np.uint8)
    for shape in ((2, 16, 16, 3), (16, 16, 3), (16, 16, 3))
  )
  flow = np.broadcast_to(0.9 * identity_grid(4, 4), (2, 4, 4, 2))
  floats = carry_details(*map(from_uint8, (frames, picture, rebuilt)), flow)
  expected = to_uint8(floats)
  np.testing.assert_array_equal(
    details.add_details(frames, picture, rebuilt, flow), expected
  )


def test_outside_the_picture_its_border_is_repeated():
  flow = jnp.full((1, 4, 4, 2), 1.5)
  lost = jnp.full((16, 16, 3), 0.25)
  frames = carry_details(jnp.zeros((1, 16, 16, 3)), lost, jnp.zeros_like(lost), flow)
  np.testing.assert_allclose(frames, 0.25, atol=1e-6)
