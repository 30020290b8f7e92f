"""True motion on the grid of stage 1: anatomy on the body, rest away from it."""

import numpy as np

from dabfusion_jax.ops.grid import identity_grid
from dabfusion_jax.ops.resize import resize_aligned
from dabfusion_jax.ops.true_flow import is_shared, on_grid, part_shares, true_flow

SIZE, CELLS = 64, 8
SHIFT = np.float32([6.0, -3.0])  # px


def body():
  """Returns motion and mask of a body that has moved as a whole, in one frame."""
  mask = np.zeros((1, SIZE, SIZE), bool)
  mask[0, 16:48, 24:40] = True
  return mask[..., None] * SHIFT, mask


def displacement(flow):
  return (np.asarray(flow) - np.asarray(identity_grid(CELLS, CELLS))) * (SIZE - 1) / 2


def test_cells_of_the_body_move_with_it_and_those_far_away_rest():
  motion, mask = body()
  flow, _ = true_flow(motion, mask, np.ones_like(mask), CELLS)
  moved = displacement(flow)[0]
  np.testing.assert_allclose(moved[3, 3], SHIFT, rtol=0.05)
  np.testing.assert_array_equal(moved[:, 0], 0)


def test_a_limb_of_a_few_pixels_keeps_most_of_its_motion_and_a_speck_does_not():
  motion, mask = (
    np.zeros((1, SIZE, SIZE, 2), np.float32),
    np.zeros((1, SIZE, SIZE), bool),
  )
  mask[0, 8:56, 31:34] = True  # a third of a cell
  mask[0, 3, 3] = True
  motion[mask] = SHIFT
  moved = displacement(true_flow(motion, mask, np.ones_like(mask), CELLS)[0])[0]
  assert (np.abs(moved[3, 3:5] / SHIFT) > 0.75).all()
  assert (np.abs(moved[0, 0] / SHIFT) < 0.5).all()
  # The cells that move so are those that the limb's region has, and the speck's not.
  shares = np.asarray(part_shares(mask.astype(np.uint8), 1, CELLS))[0]
  np.testing.assert_allclose(shares.sum(-1), 1, rtol=1e-5)
  assert (shares[3, 3:5, 1] > 0.75).all() and shares[0, 0, 1] < 0.5
  assert (shares[3, 0] == [1, 0]).all()
  whole = displacement(on_grid(motion, mask, CELLS))[0]
  np.testing.assert_allclose(whole[0, 0], SHIFT, rtol=1e-4)


def test_occlusion_is_the_share_that_the_picture_shows():
  motion, mask = body()
  visible = np.ones_like(mask)
  visible[:, :, : SIZE // 2] = False
  occlusion = np.asarray(true_flow(motion, mask, visible, CELLS)[1])[0, ..., 0]
  np.testing.assert_allclose(occlusion[:, :3], 0, atol=1e-6)
  np.testing.assert_allclose(occlusion[:, 5:], 1, atol=1e-6)
  assert (np.abs(occlusion[:, 3:5] - 0.5) < 0.5).all()


def test_pixels_that_share_no_cell_with_the_body_rest_by_the_true_flow():
  motion, mask = body()
  mask[0, 40:60, 50] = True  # a line of one pixel
  motion[mask] = SHIFT
  flow = true_flow(motion, mask, np.ones_like(mask), CELLS)[0]
  moved = np.asarray(resize_aligned(flow, SIZE, SIZE) - identity_grid(SIZE, SIZE)[None])
  is_moved = (np.abs(moved) > 1e-6).any(-1)
  shared = np.asarray(is_shared(mask, CELLS))
  np.testing.assert_array_equal(shared, is_moved)
  assert shared[mask].all() and 0.2 < shared.mean() < 0.8
