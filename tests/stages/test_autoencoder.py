"""Stage 1 as a stage: the terms of its loss, and its pictures."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fresh_weights import draw_variables

from dabfusion_jax.models.flow_autoencoder import FlowAutoencoder
from dabfusion_jax.ops.grid import identity_grid
from dabfusion_jax.stages import autoencoder
from dabfusion_jax.stages.autoencoder import (
  AutoencoderStage,
  check_self_flow,
)
from dabfusion_jax.stages.drawing import flow_to_colour, mark_keypoints

PARTS_ERRORS = (
  "part_heatmap", "part_jacobian", "part_regions", "part_visibility", "match",
  "visibility",
)  # fmt: skip


@pytest.fixture(scope="module")
def setting():
  model = FlowAutoencoder(
    num_keypoints=3,
    detector_features=4,
    motion_features=4,
    hourglass_max_features=8,
    hourglass_blocks=1,
    codec_features=4,
    num_residual=1,
  )
  features = lambda frozen, x: (frozen["scale"] * x, x[:, ::2, ::2])
  stage = AutoencoderStage(
    model,
    features,
    {"scale": np.float32(2)},
    scales=(1.0, 0.5),
    perceptual_weights=(1.0, 2.0),
    pixel_weight=3.0,
  )
  frames = jax.random.uniform(jax.random.key(0), (2, 4, 16, 16, 3))
  batch = {"ref_image": frames[0], "driving_frame": frames[1]}
  return stage, *draw_variables(stage.init, batch), batch


def test_loss_is_the_weighted_sum_of_its_terms_and_trains_every_part(setting):
  stage, params, stats, batch = setting
  step = jax.jit(jax.value_and_grad(stage.loss, has_aux=True))
  (loss, (new_stats, m)), grads = step(
    params, stats, stage.frozen, batch, jax.random.key(2)
  )
  expected = (
    m["perceptual"]
    + 3.0 * m["pixel_l1"]
    + 10.0 * (m["equivariance_value"] + m["equivariance_jacobian"])
  )
  np.testing.assert_allclose(loss, expected, rtol=1e-5)
  for name, tree in grads.items():
    largest = max(float(np.abs(g).max()) for g in jax.tree.leaves(tree))
    assert largest > 0, f"{name} has no gradient"
  moved = jax.tree.map(lambda a, b: bool((a != b).any()), stats, new_stats)
  assert any(jax.tree.leaves(moved))


def test_equivariance_can_be_left_out_as_in_the_papers_equation(setting):
  stage, params, stats, batch = setting
  literal = dataclasses.replace(
    stage, equivariance_weight=0.0, features=None, pixel_weight=1.0
  )
  loss, (_, metrics) = jax.jit(literal.loss)(
    params, stats, stage.frozen, batch, jax.random.key(2)
  )
  np.testing.assert_allclose(loss, metrics["pixel_l1"], rtol=1e-6)
  assert "perceptual" not in metrics


def largest_gradients(grads):
  """Returns the largest gradient of each part of the network."""
  return {
    name: max(float(np.abs(g).max()) for g in jax.tree.leaves(tree))
    for name, tree in grads.items()
  }


def make_truth():
  """Returns a made-up true motion of the batch, of a body at the left."""
  rng = np.random.default_rng(0)
  part_map = rng.integers(0, 4, (4, 16, 16)).astype(np.uint8)
  part_map[:, :, 5:] = 0
  return {
    "part_pose": rng.uniform(2, 14, (4, 2, 3, 6)).astype(np.float32),
    "part_map": part_map,
    "motion": rng.normal(0, 3, (4, 16, 16, 2)).astype(np.float32),
    "is_visible": rng.random((4, 16, 16)) < 0.7,
  }


def test_every_other_frame_may_be_rebuilt_by_the_true_motion(setting):
  stage, params, stats, batch = setting
  stage = dataclasses.replace(
    stage,
    equivariance_weight=0.0,
    features=None,
    pixel_weight=1.0,
    rebuild_by_truth=True,
  )
  truth = make_truth()
  step = jax.jit(jax.value_and_grad(stage.loss, has_aux=True))
  (loss, _), grads = step(params, stats, stage.frozen, batch | truth, jax.random.key(2))
  # The others train the predictor, as all do without the truth.
  assert min(largest_gradients(grads).values()) > 0
  for first, counts in ((0, True), (1, False)):
    motion = truth["motion"].copy()
    motion[first::2] *= -1
    other = batch | truth | {"motion": motion}
    (again, _), _ = step(params, stats, stage.frozen, other, jax.random.key(2))
    assert (abs(again - loss) > 1e-5) == counts


def test_the_true_motion_trains_keypoints_and_flow_but_not_the_codec(setting):
  stage, params, stats, batch = setting
  stage = dataclasses.replace(
    stage,
    equivariance_weight=0.0,
    features=None,
    pixel_weight=0.0,
    flow_weight=5.0,
    parts_weight=2.0,
  )
  truth = make_truth()
  step = jax.jit(jax.value_and_grad(stage.loss, has_aux=True))
  (loss, (new_stats, m)), grads = step(
    params, stats, stage.frozen, batch | truth, jax.random.key(2)
  )
  assert new_stats.keys() == stats.keys()  # nothing that was sown is kept
  parts = m["part_heatmap"] + m["part_jacobian"] + m["part_regions"]
  flow = (loss - 2.0 * parts) / 5.0
  assert 0 < m["flow_error_off_body"] < flow
  largest = largest_gradients(grads)
  assert largest["detector"] > 0 and largest["dense_motion"] > 0
  assert largest["encoder"] == largest["decoder"] == 0
  # What is hidden in the reference does not count.
  hidden = truth | {"motion": truth["motion"] + 9.0 * ~truth["is_visible"][..., None]}
  (again, _), _ = step(params, stats, stage.frozen, batch | hidden, jax.random.key(2))
  np.testing.assert_allclose(again, loss, rtol=1e-6)
  # Nor does background in cells of the body, of 5 pixels; further away it does.
  for column, counts in ((6, False), (13, True)):
    motion = truth["motion"].copy()
    motion[:, :, column] += 9
    visible = truth | {"motion": motion, "is_visible": np.ones((4, 16, 16), bool)}
    plain = visible | {"motion": truth["motion"]}
    losses = [
      step(params, stats, stage.frozen, batch | t, jax.random.key(2))[0][0]
      for t in (visible, plain)
    ]
    assert (abs(losses[0] - losses[1]) > 1e-3) == counts


@pytest.mark.slow
def test_the_true_motion_trains_matches_as_well_if_there_are_any(setting):
  stage, _, _, batch = setting
  stage = dataclasses.replace(
    stage,
    model=stage.model.clone(matching_features=8),
    equivariance_weight=0.0,
    features=None,
    pixel_weight=0.0,
    parts_weight=2.0,
  )
  params, stats = draw_variables(stage.init, batch)
  step = jax.jit(jax.value_and_grad(stage.loss, has_aux=True))
  (loss, (_, m)), grads = step(
    params, stats, stage.frozen, batch | make_truth(), jax.random.key(2)
  )
  parts = sum(value for name, value in m.items() if name in PARTS_ERRORS)
  np.testing.assert_allclose(loss, 2.0 * parts, rtol=1e-5)
  largest = largest_gradients(grads)
  assert largest["matching"] > 0  # by where cells are found
  assert largest["fusion"] > 0  # by what can be seen


@pytest.mark.slow
def test_the_true_motion_trains_the_fine_flow_of_a_decoder(setting):
  stage, _, _, batch = setting
  stage = dataclasses.replace(
    stage,
    model=stage.model.clone(keep_picture=True, fine_flow=True),
    equivariance_weight=0.0,
    features=None,
    pixel_weight=0.0,
    flow_weight=5.0,
    rebuild_by_truth=True,
  )
  params, stats = draw_variables(stage.init, batch)
  step = jax.jit(jax.value_and_grad(stage.loss, has_aux=True))
  truth = make_truth() | {"is_visible": np.ones((4, 16, 16), bool)}
  (_, (_, m)), grads = step(
    params, stats, stage.frozen, batch | truth, jax.random.key(2)
  )
  assert np.abs(grads["decoder"]["fine"]["conv"]["kernel"]).max() > 0
  # Background in cells of the body counts for it: it has no cells.
  motion = truth["motion"].copy()
  motion[:, :, 6] += 9
  (_, (_, n)), _ = step(
    params, stats, stage.frozen, batch | truth | {"motion": motion}, jax.random.key(2)
  )
  assert m["flow_error_off_body"] == n["flow_error_off_body"]
  assert n["fine_flow_error_off_body"] > m["fine_flow_error_off_body"] + 0.01
  # But not for the flow of cells that it refines.
  zeros = {"fine": jax.tree.map(jnp.zeros_like, params["decoder"]["fine"])}
  begin = params | {"decoder": params["decoder"] | zeros}
  before, after = (
    step(begin, stats, stage.frozen, batch | truth | {"motion": x}, jax.random.key(2))[
      1
    ]
    for x in (truth["motion"], motion)
  )
  leaves = (jax.tree.leaves(grads["dense_motion"]) for grads in (before, after))
  for x, y in zip(*leaves, strict=True):
    np.testing.assert_allclose(x, y, atol=1e-5)
  # Metrics are those of flow that was found: what the truth refines does not count.
  motion = truth["motion"].copy()
  motion[0::2] *= -1
  held_out = jax.jit(functools.partial(stage.loss, train=False))
  ratios = [
    held_out(
      params, stats, stage.frozen, batch | truth | {"motion": x}, jax.random.key(2)
    )[1][1]
    for x in (truth["motion"], motion)
  ]
  of_pixels, of_cells = (
    [float(m[f"{kind}flow_error_ratio"]) for m in ratios] for kind in ("fine_", "")
  )
  assert of_pixels[0] == pytest.approx(of_pixels[1], rel=1e-6)
  assert of_cells[0] != pytest.approx(of_cells[1], rel=1e-3)


def test_held_out_loss_is_that_of_the_running_statistics_and_leaves_them(setting):
  stage, params, stats, batch = setting
  stage = dataclasses.replace(
    stage, equivariance_weight=0.0, features=None, pixel_weight=1.0
  )
  stats = jax.tree.map(lambda x: 1.5 * x + 0.1, stats)  # not those of the batch
  key = jax.random.key(2)
  held_out = jax.jit(functools.partial(stage.loss, train=False))
  loss, (new_stats, _) = held_out(params, stats, stage.frozen, batch, key)
  jax.tree.map(np.testing.assert_array_equal, new_stats, stats)
  rebuilt = jax.jit(stage.reconstruct)(params, stats, *batch.values()).image
  expected = jnp.abs(rebuilt - batch["driving_frame"]).mean()
  np.testing.assert_allclose(loss, expected, rtol=1e-5)
  assert (
    abs(jax.jit(stage.loss)(params, stats, stage.frozen, batch, key)[0] - loss) > 1e-3
  )


def test_pictures_have_a_row_per_pair(setting):
  stage, params, stats, batch = setting
  sheet = stage.pictures(params, stats, batch, jax.random.key(0))["reconstruction"]
  assert sheet.shape == (4 * 16, 6 * 16, 3) and sheet.dtype == np.uint8
  stage.pictures(params, stats, batch, jax.random.key(1))
  assert stage._reconstruct._cache_size() == 1  # compiled once


def test_self_test_passes_any_weights_but_broken_ones(setting, monkeypatch):
  stage, params, stats, _ = setting
  rng = np.random.default_rng(3)  # JAX would compile a draw for each shape
  draw = lambda x: x + 0.5 * rng.standard_normal(x.shape, np.float32)
  noisy = jax.tree.map(draw, jax.device_get(params))
  check_self_flow(stage.model, {"params": noisy, "batch_stats": stats}, 16)
  broken = jax.tree.map(lambda x: x * jnp.nan, params["detector"])
  variables = {"params": params | {"detector": broken}, "batch_stats": stats}
  with pytest.raises(ValueError, match="off the identity by nan"):
    check_self_flow(stage.model, variables, 16)
  # A grid whose -1 and 1 are the edges of the border pixels instead of their centres.
  other = lambda height, width: (1 - 1 / width) * identity_grid(height, width)
  monkeypatch.setattr(autoencoder, "identity_grid", other)
  with pytest.raises(ValueError, match="off the identity by 0.25"):
    check_self_flow(stage.model, {"params": params, "batch_stats": stats}, 16)


def test_keypoints_are_drawn_where_they_are():
  images = np.zeros((1, 9, 17, 3), np.float32)
  marked = mark_keypoints(images, np.array([[[0.5, -0.5], [1.0, 1.0]]]))
  rows, columns = np.nonzero(marked[0].sum(-1))
  assert {*zip(rows, columns, strict=True)} == {
    *((row, column) for row in (1, 2, 3) for column in (11, 12, 13)),
    *((row, column) for row in (7, 8) for column in (15, 16)),
  }
  assert not images.any()  # the input is not modified


def test_no_motion_is_white_and_opposite_motions_have_opposite_colours():
  grid = identity_grid(4, 4)
  np.testing.assert_allclose(flow_to_colour(grid), 1.0, atol=1e-6)
  right = flow_to_colour(grid + jnp.array([[[0.25, 0.0]]]))[0, 0]
  left = flow_to_colour(grid - jnp.array([[[0.25, 0.0]]]))[0, 0]
  np.testing.assert_allclose(right + left, 1.0, atol=1e-5)
  assert right[0] > 0.99  # to the right: red
