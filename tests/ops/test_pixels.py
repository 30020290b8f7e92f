"""Images as bytes and as floats."""

import jax.numpy as jnp
import numpy as np

from dabfusion_jax.ops.pixels import from_uint8, to_uint8


def test_bytes_survive_the_way_to_floats_and_back():
  image = np.arange(256, dtype=np.uint8)
  floats = from_uint8(image)
  assert floats.dtype == np.float32 and (floats[0], floats[-1]) == (0, 1)
  np.testing.assert_array_equal(to_uint8(floats), image)
  np.testing.assert_allclose(from_uint8(jnp.asarray(image)), floats, rtol=1e-6)


def test_floats_are_clipped_and_rounded_to_the_nearest_byte():
  floats = jnp.array([-3.0, 0.0, 0.49 / 255, 0.51 / 255, 254.4 / 255, 1.0, 7.0])
  np.testing.assert_array_equal(to_uint8(floats), [0, 0, 0, 1, 254, 255, 255])
