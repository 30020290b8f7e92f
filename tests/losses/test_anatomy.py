"""True flow and true parts have no error, and keypoints at parts move as they do."""

import jax
import jax.numpy as jnp
import numpy as np

from dabfusion_jax.losses import anatomy
from dabfusion_jax.models.dense_motion import sparse_motions
from dabfusion_jax.models.keypoint_detector import Keypoints
from dabfusion_jax.ops.grid import identity_grid
from dabfusion_jax.ops.true_flow import part_shares
from data_pipeline.records.body_parts import body_motion

# As programs: single operations would be compiled one by one.
flow_errors = jax.jit(anatomy.flow_errors)
heatmap_divergence = jax.jit(anatomy.heatmap_divergence)
masked_mean = jax.jit(anatomy.masked_mean)
match_divergence = jax.jit(anatomy.match_divergence)
region_error = jax.jit(anatomy.region_error)
visibility_error = jax.jit(anatomy.visibility_error)
part_keypoints = jax.jit(anatomy.part_keypoints, static_argnums=1)


def test_a_flow_that_shifts_as_the_body_does_has_no_error():
  motion = np.broadcast_to(np.float32([3, -2]), (1, 31, 31, 2))  # pixels of 2 / 30
  grid = identity_grid(8, 8)[None]
  right = grid + jnp.float32([[[[3, -2]]]]) / 15
  np.testing.assert_allclose(flow_errors(right, motion), 0, atol=1e-5)
  none = flow_errors(grid, motion)
  np.testing.assert_allclose(none, np.hypot(3, 2) / 15, atol=1e-5)


def test_the_mean_counts_only_the_mask_and_is_zero_without_one():
  values = jnp.float32([[[1, 2], [3, 4]]])
  mask = np.array([[[True, False], [False, True]]])
  assert masked_mean(values, mask) == 2.5
  assert masked_mean(values, np.zeros_like(mask)) == 0


def test_a_heatmap_diverges_least_at_the_part_and_outside_nothing_counts():
  size = 16
  position = jnp.float32([[[0.2, -0.4], [3.0, 0.0]]])  # the second is off the picture
  grid = np.asarray(identity_grid(size, size))

  def logits(place):
    cells = (grid - place) * (size - 1) / 2
    one = -(cells**2).sum(-1) / 2
    return jnp.stack([one, jnp.zeros_like(one)], -1)[None]

  right = heatmap_divergence(logits(np.float32([0.2, -0.4])), position)
  near = heatmap_divergence(logits(np.float32([0.2, -0.3])), position)
  far = heatmap_divergence(logits(np.float32([-0.6, 0.4])), position)
  assert abs(right) < 1e-5 < near < far


def test_matches_at_the_true_places_have_no_error_and_hidden_cells_do_not_count():
  cells, places = 4, 8
  grid = identity_grid(cells, cells)[None]
  flow = grid.at[0, 1, 2].add(jnp.float32([0.25, -0.5]))
  place = np.asarray(identity_grid(places, places)).reshape(1, 1, -1, 2)
  distance = (place - np.asarray(flow).reshape(1, -1, 1, 2)) * (places - 1) / 2
  right = jnp.float32(-(distance**2).sum(-1) / 2)
  seen = jnp.ones((1, cells, cells, 1))
  np.testing.assert_allclose(match_divergence(right, flow, seen), 0, atol=1e-5)
  wrong = right.at[0, 1 * cells + 2].set(0)  # anywhere
  assert match_divergence(wrong, flow, seen) > 0.5
  hidden = seen.at[0, 1, 2].set(0)
  np.testing.assert_allclose(match_divergence(wrong, flow, hidden), 0, atol=1e-5)
  # The one that moves counts as much as the fifteen that do not.
  still = right.at[0, 0].set(0)
  assert match_divergence(wrong, flow, seen) > 5 * match_divergence(still, flow, seen)
  hidden = seen.at[0, 0, 0].set(0)
  np.testing.assert_allclose(match_divergence(still, flow, hidden), 0, atol=1e-5)


def test_regions_that_know_the_parts_have_no_error():
  part_map = np.zeros((1, 16, 16), np.uint8)
  part_map[0, :, 9:] = 1
  part_map[0, :, 12] = 2  # an arm of one pixel, on a body
  known = jnp.log(part_shares(part_map, 2, 4) + 1e-9)
  assert abs(region_error(known, part_map)) < 1e-6
  # Saying background everywhere is right on the left, yet counts as one of two.
  nothing = region_error(jnp.zeros((1, 4, 4, 3)).at[..., 0].set(30.0), part_map)
  assert nothing > 20


def test_occlusion_that_knows_what_is_hidden_has_no_error():
  parts = np.zeros((1, 8, 8), np.uint8)
  parts[:, :4] = 3
  seen = np.ones((1, 8, 8), bool)
  seen[:, :4, :4] = False
  right = np.where(seen[:, ::4, ::4, None], 20, -20).astype(np.float32)
  assert visibility_error(jnp.asarray(right), seen, parts) < 1e-6
  # Half of the body is wrong; the background is right.
  wrong = visibility_error(jnp.full((1, 2, 2, 1), 20.0), seen, parts)
  np.testing.assert_allclose(wrong, 10, atol=1e-5)


def test_keypoints_at_a_part_move_its_surface_as_it_moves():
  # A limb along x is lifted by a right angle and seen foreshortened.
  to = np.float32([[[20, 30, 3, 44, 30, 3]]])
  source = np.float32([[[20, 30, 3, 20, 12, 3]]])
  keypoints = [
    Keypoints(*part_keypoints(pose, 64), jnp.zeros((1, 4, 4, 1)))
    for pose in (source, to)
  ]
  part_map = np.zeros((64, 64), np.uint8)
  part_map[28:33, 22:43] = 1
  motion = body_motion(part_map, to[0], source[0])
  motions = jax.jit(lambda *x: sparse_motions(*x, 64, 64))(*keypoints)
  local = np.asarray(motions[0, 1])
  found = (local - np.asarray(identity_grid(64, 64))) * 63 / 2
  error = np.linalg.norm(found - motion, axis=-1)[part_map > 0]
  assert error.max() < 0.06 * np.linalg.norm(motion[part_map > 0], axis=-1).max()
