"""16-bit samples and sound convert to each other without loss."""

import numpy as np

from data_pipeline.media.pcm import int16_to_sound, sound_to_int16


def test_every_16_bit_sample_survives_the_round_trip():
  samples = np.arange(-32768, 32768).astype(np.int16)
  sound = int16_to_sound(samples)
  assert sound.dtype == np.float32
  np.testing.assert_array_equal(sound_to_int16(sound), samples)


def test_full_scale_is_one_and_rounding_is_to_the_nearest_sample():
  np.testing.assert_array_equal(
    sound_to_int16(np.float32([-1, 0, 1, 0.6 / 32767])), [-32767, 0, 32767, 1]
  )
  sound = np.random.default_rng(0).uniform(-1, 1, 1000).astype(np.float32)
  error = np.abs(int16_to_sound(sound_to_int16(sound)) - sound)
  assert error.max() < 0.51 / 32767
