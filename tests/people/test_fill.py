"""What an arm covered of a piece gets its grain, and no colour that stands out."""

import numpy as np

from dabfusion_jax.people.fill import fill_with_texture


def test_the_grain_goes_on_and_the_colour_of_a_bit_of_skin_is_not_seen_twice():
  rng = np.random.default_rng(0)
  grain = np.repeat(rng.normal(0, 8, (80, 80, 1)), 3, axis=2)
  picture = (120 + grain).astype(np.float32)
  known = np.ones((80, 80), bool)
  known[:, 40:] = False
  plain = fill_with_texture(picture, known)
  assert np.diff(plain[:, 48:70, 0], axis=1).std() > 4
  # 8 to 14 columns before the hole: their mirror image is that far inside it.
  picture[:, 26:32] = (230, 150, 110)
  filled = fill_with_texture(picture, known)
  np.testing.assert_array_equal(filled[known], picture[known])
  inside = filled[:, 46:56]
  colour = inside.max(-1) - inside.min(-1)
  assert colour.max() < 12
  # Its brightness is limited to that of the grain.
  assert np.abs(filled[:, 46:56].mean(-1) - 120).max() < 60
