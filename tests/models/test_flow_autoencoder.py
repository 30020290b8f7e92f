"""The network of stage 1: parameter counts, and what holds for any weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fresh_weights import draw_variables

from dabfusion_jax.models.dense_motion import Motion, sparse_motions
from dabfusion_jax.models.flow_autoencoder import FlowAutoencoder, warp_latent
from dabfusion_jax.models.image_codec import BlendingDecoder
from dabfusion_jax.models.keypoint_detector import (
  Keypoints,
  gaussian_heatmap,
  heatmap_to_position,
  oriented_heatmap,
)
from dabfusion_jax.ops.grid import identity_grid
from dabfusion_jax.ops.resize import resize_aligned

_SIZE = 32


@pytest.fixture(scope="module")
def tiny():
  """Returns a small network and weights that are all perturbed, jacobians included."""
  model = FlowAutoencoder(
    num_keypoints=3,
    detector_features=4,
    motion_features=4,
    hourglass_max_features=16,
    hourglass_blocks=2,
    codec_features=4,
    num_residual=1,
  )
  image = jax.random.uniform(jax.random.key(0), (2, _SIZE, _SIZE, 3))
  variables = jax.device_get(draw_variables(model.init, image, image))
  rng = np.random.default_rng(2)  # JAX would compile a draw for each shape
  draw = lambda x: x + 0.1 * rng.standard_normal(x.shape, np.float32)
  perturbed = {**variables, "params": jax.tree.map(draw, variables["params"])}
  apply = jax.jit(model.apply)
  return model, variables, perturbed, image, apply


def test_paper_size_has_the_specified_number_of_parameters():
  model = FlowAutoencoder()
  frame = jnp.zeros((1, 128, 128, 3))
  params = jax.eval_shape(model.init, jax.random.key(0), frame, frame)["params"]
  count = {
    name: sum(x.size for x in jax.tree.leaves(tree)) for name, tree in params.items()
  }
  assert count == {
    "detector": 14_215_368,
    "dense_motion": 37_730_268,
    "encoder": 379_392,
    "decoder": 7_465_731,
  }
  assert sum(count.values()) == 59_790_759


@pytest.mark.parametrize("scale", [0.1, 0.5, 2.0])
def test_self_flow_is_the_identity_for_any_weights(tiny, scale):
  _, variables, perturbed, image, apply = tiny
  stretched = jax.tree.map(
    lambda x, y: x + 10 * scale * (y - x), variables["params"], perturbed["params"]
  )
  out = apply({**variables, "params": stretched}, image, image)
  grid = np.broadcast_to(identity_grid(_SIZE // 4, _SIZE // 4), out.motion.flow.shape)
  np.testing.assert_allclose(out.motion.flow, grid, atol=1e-5)
  # Not because the jacobians are the identity.
  assert np.abs(np.asarray(out.driving.jacobian) - np.eye(2)).max() > 1e-3


def test_the_flow_may_be_coarser_than_the_latent_which_keeps_its_size(tiny):
  model, variables, _, image, _ = tiny
  coarse = model.clone(motion_down=1)
  out = jax.eval_shape(coarse.apply, variables, image, image)
  assert out.image.shape == image.shape
  assert out.z.shape[1:3] == (_SIZE // 4, _SIZE // 4)
  assert out.motion.flow.shape[1:3] == (_SIZE // 8, _SIZE // 8)
  assert out.motion.occlusion.shape[1:3] == (_SIZE // 8, _SIZE // 8)


@pytest.fixture(scope="module")
def free():
  """Returns a network that blends and corrects, weights and two images."""
  tiny_ones = dict.fromkeys(("detector_features", "motion_features"), 4)
  model = FlowAutoencoder(
    3, **tiny_ones, hourglass_max_features=8, hourglass_blocks=1, codec_features=4,
    num_residual=1, motion_correction=True, keep_picture=True,
  )  # fmt: skip
  image = jax.random.uniform(jax.random.key(0), (2, _SIZE, _SIZE, 3))
  variables = draw_variables(model.init, image, image)
  rng = np.random.default_rng(2)
  draw = lambda x: x + 0.3 * rng.standard_normal(x.shape, np.float32)
  return model, jax.tree.map(draw, variables), image


def test_a_corrected_flow_is_the_identity_for_equal_frames_and_only_for_those(free):
  model, variables, image = free
  grid = np.asarray(identity_grid(_SIZE // 4, _SIZE // 4))[None]
  own = jax.jit(model.apply)
  out = own(variables, image, image)
  np.testing.assert_allclose(out.motion.flow, grid.repeat(2, 0), atol=1e-5)
  plain = jax.jit(model.clone(motion_correction=False).apply)
  both = (apply(variables, image, image[::-1]) for apply in (own, plain))
  corrected, mean = (np.asarray(out.motion.flow) for out in both)
  assert np.abs(corrected - mean).max() > 1e-3 and np.abs(mean - grid).max() > 1e-3


def test_a_blending_decoder_copies_draws_or_moves_as_its_weights_say(free):
  model, variables, image = free
  encode = lambda model: jax.jit(lambda *x: model.apply(*x, method="encode"))
  z = encode(model)(variables, image)
  latent = encode(model.clone(keep_picture=False))(variables, image)
  np.testing.assert_array_equal(z[..., : latent.shape[-1]], latent)
  grid = identity_grid(_SIZE // 4, _SIZE // 4)[None].repeat(2, 0)
  seen = jnp.ones((2, _SIZE // 4, _SIZE // 4, 1))
  shift = grid + jnp.float32([2 * 4 / (_SIZE - 1), 0])[None, None, None]  # 4 pixels

  @jax.jit
  def decode(bias, flow):
    last = {"kernel": jnp.zeros((7, 7, 4, 6)), "bias": bias}
    params = variables["params"]
    decoder = params["decoder"] | {"last": {"conv": last}}
    weights = variables | {"params": params | {"decoder": decoder}}
    return model.apply(weights, z, flow, seen, method="decode")

  drawn, moved, stayed = (jnp.float32([-50, 0, 50, *w]) for w in 50 * np.eye(3))
  np.testing.assert_allclose(decode(stayed, shift), image, atol=1e-6)
  np.testing.assert_allclose(decode(moved, grid), image, atol=1e-5)
  inside = decode(moved, shift)[:, :, : _SIZE - 4]
  np.testing.assert_allclose(inside, image[:, :, 4:], atol=1e-4)
  colours = np.broadcast_to(np.float32([0, 0.5, 1]), image.shape)
  np.testing.assert_allclose(decode(drawn, shift), colours, atol=1e-6)


def test_self_flow_is_the_identity_for_oriented_heat_as_well(tiny):
  model, _, perturbed, image, apply = tiny
  oriented = model.clone(oriented_heat=True, heat_variance=0.0025)
  out = jax.jit(oriented.apply)(perturbed, image, image)
  grid = np.broadcast_to(identity_grid(_SIZE // 4, _SIZE // 4), out.motion.flow.shape)
  np.testing.assert_allclose(out.motion.flow, grid, atol=1e-5)
  assert (
    np.abs(out.motion.occlusion - apply(perturbed, image, image).motion.occlusion).max()
    > 0
  )


def test_oriented_heat_is_round_for_the_identity_and_long_along_a_part():
  position = identity_grid(9, 9)[4, 4][None, None]
  round_one = Keypoints(position, jnp.eye(2)[None, None], None)
  np.testing.assert_allclose(
    oriented_heatmap(round_one, 9, 9, 0.04), gaussian_heatmap(position, 9, 9, 0.04)
  )
  # The part lies along the diagonal, twice as long as wide.
  axis, normal = np.array([1, 1]) / np.sqrt(2), np.array([-1, 1]) / np.sqrt(2)
  jacobian = jnp.asarray(np.stack([2 * axis, normal], -1), jnp.float32)
  heat = oriented_heatmap(Keypoints(position, jacobian[None, None], None), 9, 9, 0.04)
  along, across = heat[0, 6, 6, 0], heat[0, 6, 2, 0]
  np.testing.assert_allclose(along**4, across, rtol=1e-4)
  assert across < 0.2 < along


def test_different_frames_have_another_flow(tiny):
  _, _, perturbed, image, apply = tiny
  out = apply(perturbed, image, image[::-1])
  grid = identity_grid(_SIZE // 4, _SIZE // 4)
  assert np.abs(out.motion.flow - grid[None]).max() > 1e-3


def test_initial_jacobians_are_the_identity_and_occlusion_is_undecided(tiny):
  model, variables, _, image, apply = tiny
  out = apply(variables, image, image[::-1])
  jacobian = np.asarray(out.driving.jacobian)
  np.testing.assert_allclose(
    jacobian, np.broadcast_to(np.eye(2), jacobian.shape), atol=1e-6
  )
  assert 0.3 < float(out.motion.occlusion.mean()) < 0.7


def test_heatmaps_sum_to_one_and_a_delta_gives_its_grid_coordinate(tiny):
  _, _, perturbed, image, apply = tiny
  heatmap = apply(perturbed, image, image).driving.heatmap
  np.testing.assert_allclose(heatmap.sum((1, 2)), 1.0, atol=1e-5)
  delta = jnp.zeros((1, 8, 8, 1)).at[0, 2, 5, 0].set(1.0)
  position = heatmap_to_position(delta)[0, 0]
  np.testing.assert_allclose(position, identity_grid(8, 8)[2, 5], atol=1e-6)


def test_sparse_motion_maps_the_driving_keypoint_to_the_reference_keypoint():
  jacobian = jnp.eye(2)[None, None, None] + 0.2 * jax.random.normal(
    jax.random.key(0), (2, 1, 1, 2, 2)
  )
  reference_at = jnp.array([[[0.5, -0.25]]])
  cell = identity_grid(9, 9)[6, 2]  # the driving keypoint sits on this cell
  reference = Keypoints(reference_at, jacobian[0], None)
  driving = Keypoints(cell[None, None], jacobian[1], None)
  motions = sparse_motions(reference, driving, 9, 9)
  np.testing.assert_allclose(motions[0, 1, 6, 2], reference_at[0, 0], atol=1e-6)
  np.testing.assert_allclose(motions[0, 0], identity_grid(9, 9), atol=1e-6)


def test_occlusion_multiplies_the_warped_latent():
  z = jax.random.normal(jax.random.key(0), (1, 8, 8, 5))
  flow = identity_grid(8, 8)[None]
  half = jnp.full((1, 8, 8, 1), 0.5)
  np.testing.assert_allclose(warp_latent(z, flow, half), 0.5 * z, atol=1e-5)
  smaller = warp_latent(z, identity_grid(4, 4)[None], half[:, :4, :4])
  np.testing.assert_allclose(smaller, 0.5 * z, atol=1e-5)


def test_an_hourglass_too_deep_for_its_input_says_so():
  model = FlowAutoencoder(hourglass_blocks=4)
  frame = jnp.zeros((1, 32, 32, 3))
  with pytest.raises(ValueError, match="at least 16 pixels"):
    jax.eval_shape(model.init, jax.random.key(0), frame, frame)


def test_evaluation_changes_no_statistics_and_training_does(tiny):
  model, variables, _, image, apply = tiny
  del apply

  def statistics(train):
    call = lambda v: model.apply(v, image, image, train, mutable=["batch_stats"])[1]
    return jax.jit(call)(variables)

  kept, moved = statistics(False), statistics(True)
  same = jax.tree.map(np.array_equal, kept["batch_stats"], variables["batch_stats"])
  assert all(jax.tree.leaves(same))
  changed = jax.tree.map(np.array_equal, moved["batch_stats"], kept["batch_stats"])
  assert not all(jax.tree.leaves(changed))


def test_a_fine_flow_keeps_what_does_not_move_and_moves_single_pixels(free):
  model, variables, image = free
  model = model.clone(fine_flow=True, decoder_features=3)
  variables = draw_variables(model.init, image, image)
  z = jax.jit(lambda *x: model.apply(*x, method="encode"))(variables, image)
  cells = _SIZE // 4
  grid = identity_grid(cells, cells)[None].repeat(2, 0)
  seen = jnp.ones((2, cells, cells, 1))
  width = variables["params"]["decoder"]["fine"]["conv"]["kernel"].shape[2]
  assert width == 4 * 3

  @jax.jit
  def decode(change, flow):
    decoder = variables["params"]["decoder"]
    fine = {"kernel": jnp.zeros((3, 3, width, 32)), "bias": change}
    last = {"kernel": jnp.zeros((7, 7, 3, 6)), "bias": jnp.float32([0] * 4 + [99, 0])}
    decoder = decoder | {"fine": {"conv": fine}, "last": {"conv": last}}
    weights = variables | {"params": variables["params"] | {"decoder": decoder}}
    return model.apply(
      weights, z, flow, seen, method="decode", mutable=["intermediates"]
    )

  # One pixel of each cell moves twice as far as its cell.
  change = jnp.zeros((4, 4, 2)).at[1, 2, 0].set(1.0).reshape(-1)
  still, _ = decode(change, grid)
  np.testing.assert_allclose(still, image, atol=1e-5)
  moves = grid + jnp.float32([2 * 4 / (_SIZE - 1), 0])[None, None, None]  # 4 pixels
  moved, sown = decode(change, moves)
  # A new decoder refines nothing.
  decoder = BlendingDecoder(1, num_down=1, num_residual=0, fine_flow=True)
  new = jnp.zeros((1, 2, 2, 1)), Motion(moves[:1], seen[:1]), jnp.zeros((1, 4, 4, 3))
  init = jax.jit(lambda *x: decoder.init(*x, False)["params"]["fine"])
  fine = init(jax.random.key(0), *new)
  assert not any(np.any(x) for x in jax.tree.leaves(fine))
  # The pixels of a cell may move as far as those around it, in x and y together.
  one = grid.at[:, 3, 3].add(jnp.float32([3, 4]) * 2 / (_SIZE - 1))
  (flow,) = decode(change, one)[1]["intermediates"]["decoder"]["flow"]
  offset = np.asarray(flow - identity_grid(_SIZE, _SIZE)[None])[0, :, :, 0]
  coarse = resize_aligned(one, _SIZE, _SIZE) - identity_grid(_SIZE, _SIZE)[None]
  added = (offset - coarse[0, :, :, 0])[1::4, 2::4] * (_SIZE - 1) / 2
  assert added[2, 2] > 3 and added.max() == pytest.approx(7, abs=0.5)
  assert np.abs(added[:1]).max() < 1e-4
  (flow,) = sown["intermediates"]["decoder"]["flow"]
  offset = (flow - identity_grid(_SIZE, _SIZE)[None]) * (_SIZE - 1) / 2
  assert flow.shape == (2, _SIZE, _SIZE, 2)
  np.testing.assert_allclose(offset[:, 1::4, 2::4, 0], 8, atol=1e-4)
  np.testing.assert_allclose(offset[:, 0::4, 2::4, 0], 4, atol=1e-4)
  np.testing.assert_allclose(moved[:, 5, 2], image[:, 5, 10], atol=1e-5)
  np.testing.assert_allclose(moved[:, 4, 2], image[:, 4, 6], atol=1e-5)
