"""Encodings of frames and timesteps against their published definitions."""

import jax
import jax.numpy as jnp
import numpy as np

from dabfusion_jax.ops.positions import relative_buckets, rotate, sinusoid, split_pairs


def test_bucket_map_is_the_published_one():
  buckets = relative_buckets(60)[30]  # of keys at distances -30, ..., 29
  of = lambda distance: buckets[30 + distance]
  assert [of(-d) for d in range(8)] == list(range(8))
  groups = {8: (8, 9), 9: (10, 11), 10: (12, 13), 11: (14, 15)}
  groups |= {12: (16, 19), 13: (20, 22), 14: (23, 26), 15: (27, 29)}
  for bucket, (first, last) in groups.items():
    for distance in range(first, last + 1):
      assert of(-distance) == bucket
      assert of(distance) == bucket + 16
  assert of(-16) == 12 and of(16) == 28
  assert 16 not in relative_buckets(60)


def test_buckets_saturate_and_remain_integers():
  buckets = relative_buckets(200)
  assert buckets.shape == (200, 200) and np.issubdtype(buckets.dtype, np.integer)
  assert buckets[0, 199] == 31 and buckets[199, 0] == 15


def test_rotation_turns_interleaved_pairs_after_split_pairs():
  x = jax.random.normal(jax.random.key(0), (2, 5, 3, 8))  # the frames are axis 1
  pairs = np.asarray(x)[..., ::2] + 1j * np.asarray(x)[..., 1::2]
  frequency = 10000.0 ** (-np.arange(4) / 4)
  angle = np.arange(5)[:, None, None] * frequency
  expected = pairs * np.exp(1j * angle)
  rotated = rotate(split_pairs(x), axis=1)
  np.testing.assert_allclose(rotated[..., :4], expected.real, atol=1e-5)
  np.testing.assert_allclose(rotated[..., 4:], expected.imag, atol=1e-5)


def test_sinusoid_is_sines_then_cosines():
  t = jnp.array([0, 7, 999])
  frequency = 10000.0 ** (-np.arange(32) / 31)
  angle = np.asarray(t, np.float64)[:, None] * frequency
  expected = np.concatenate([np.sin(angle), np.cos(angle)], axis=-1)
  np.testing.assert_allclose(sinusoid(t, 64), expected, atol=1e-4)
  np.testing.assert_allclose(sinusoid(t[:2], 64), expected[:2], atol=1e-6)
