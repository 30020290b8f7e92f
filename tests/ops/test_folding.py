"""Folding moves pixels into channels and loses none of them."""

import jax.numpy as jnp
import numpy as np
import pytest

from dabfusion_jax.ops.folding import fold, unfold


def test_a_cell_holds_the_pixels_of_its_block_and_unfolding_brings_them_back():
  image = np.arange(2 * 4 * 6 * 3, dtype=np.float32).reshape(2, 4, 6, 3)
  folded = fold(jnp.asarray(image), 2)
  assert folded.shape == (2, 2, 3, 12)
  np.testing.assert_array_equal(folded[1, 1, 2], image[1, 2:4, 4:6].ravel())
  np.testing.assert_array_equal(unfold(folded, 2), image)


def test_what_does_not_divide_into_blocks_is_refused():
  with pytest.raises(ValueError, match="4 x 6 pixels do not divide into blocks of 4"):
    fold(jnp.zeros((4, 6, 3)), 4)
