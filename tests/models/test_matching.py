"""Matches of the driving frame in the reference, and what joins them to keypoints."""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fresh_weights import draw_variables

from dabfusion_jax.models.dense_motion import Motion
from dabfusion_jax.models.flow_autoencoder import FlowAutoencoder
from dabfusion_jax.models.matching import Fusion
from dabfusion_jax.ops.grid import identity_grid
from dabfusion_jax.settings.config_files import load_config
from data_pipeline.errors import UserError

_CONFIG = pathlib.Path(__file__).parents[2] / "configs" / "autoencoder.py"
_SIZE, _CELLS = 32, 8


@pytest.fixture(scope="module")
def model():
  """Returns a small network with matches, perturbed weights, and two images."""
  tiny_ones = dict.fromkeys(("detector_features", "motion_features"), 4)
  model = FlowAutoencoder(
    3, **tiny_ones, hourglass_max_features=8, hourglass_blocks=1, codec_features=4,
    num_residual=1, matching_features=8,
  )  # fmt: skip
  image = jax.random.uniform(jax.random.key(0), (2, _SIZE, _SIZE, 3))
  variables = draw_variables(model.init, image, image)
  rng = np.random.default_rng(2)
  draw = lambda x: x + 0.1 * rng.standard_normal(x.shape, np.float32)
  return model, jax.tree.map(draw, variables), image


def test_equal_frames_have_no_motion_whatever_the_weights(model):
  network, variables, image = model
  apply = jax.jit(network.apply)
  grid = np.asarray(identity_grid(_CELLS, _CELLS))[None].repeat(2, 0)
  flow = apply(variables, image, image).motion.flow
  # Rounding differs between the places of a batch, and a softmax makes it larger.
  np.testing.assert_allclose(flow, grid, atol=1e-4)
  other = apply(variables, image, image[::-1]).motion.flow
  assert np.abs(other - grid).max() > 1e-2


def test_the_flow_of_a_clip_is_that_of_its_pairs(model):
  network, variables, image = model
  clip = jax.jit(lambda v, x: network.apply(v, x, method="analyse_clip"))
  motion, _ = clip(variables, image)
  pairs = jax.jit(network.apply)(variables, image[:1].repeat(2, 0), image)
  np.testing.assert_allclose(motion.flow, pairs.motion.flow, atol=1e-5)
  np.testing.assert_allclose(motion.occlusion, pairs.motion.occlusion, atol=1e-5)


def test_joint_motion_may_be_either_and_no_motion_remains_none():
  module = Fusion(features=4, num_residual=1)
  rng = np.random.default_rng(0)
  draw = lambda *shape: jnp.asarray(rng.random(shape), jnp.float32)
  image, matched = draw(1, _SIZE, _SIZE, 3), 0.3 * draw(1, _CELLS, _CELLS, 2)
  grid = identity_grid(_CELLS, _CELLS)[None]
  keypoints = Motion(
    grid + 0.3 * draw(1, _CELLS, _CELLS, 2), draw(1, _CELLS, _CELLS, 1)
  )
  still = Motion(grid, keypoints.occlusion)
  inputs = image, image[:, ::-1], keypoints, matched
  variables = draw_variables(lambda *x: module.init(*x, False), *inputs)

  @jax.jit
  def flow(bias, motion, matched):
    last = jax.tree.map(jnp.zeros_like, variables["params"]["last"])
    last["conv"]["bias"] = jnp.asarray(bias, jnp.float32)
    params = variables["params"] | {"last": last}
    weights = variables | {"params": params}
    return module.apply(weights, image, image[:, ::-1], motion, matched, False).flow

  np.testing.assert_allclose(flow([-50, 0, 0, 0], keypoints, matched), keypoints.flow)
  of_matches = flow([50, 0, 0, 0], keypoints, matched)
  np.testing.assert_allclose(of_matches, grid + matched, atol=1e-6)
  assert np.abs(flow([50, 0, 1, 1], keypoints, matched) - of_matches).min() > 1e-3
  none = flow([3, 2, 1, 4], still, jnp.zeros_like(matched))
  np.testing.assert_allclose(none, grid, atol=1e-7)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"matching_features": 6}, "multiple of 4, the number of attention heads, not 6"),
    ({"num_down": 1, "motion_down": 0}, "cells of at least 4 pixels"),
    ({"keep_picture": False, "decoder_features": 0}, "model.fine_flow is of a decoder"),
    ({"keep_picture": False, "fine_flow": False}, "model.decoder_features is of a"),
  ],
)
def test_settings_that_do_not_go_together_are_refused(change, message):
  model = load_config(_CONFIG, "people").model
  with pytest.raises(UserError, match=message):
    dataclasses.replace(model, **change)


@pytest.mark.parametrize(
  "part",
  [
    "dense_motion",
    *(
      pytest.param(part, marks=pytest.mark.slow)
      for part in ("detector", "matching", "fusion", "encoder", "decoder")
    ),
  ],
)
def test_parts_that_are_frozen_work_in_training_as_in_inference(model, part):
  network, variables, image = model
  statistics = variables["batch_stats"]
  others = tuple(name for name in statistics if name != part)
  apply = lambda frozen: jax.jit(
    lambda: network.clone(frozen_parts=frozen).apply(
      variables, image, image[::-1], train=True, mutable=["batch_stats"]
    )
  )()
  _, after = apply(others)
  for name, tree in after["batch_stats"].items():
    pairs = zip(*map(jax.tree.leaves, (tree, statistics[name])), strict=True)
    kept = [bool((new == old).all()) for new, old in pairs]
    assert not any(kept) if name == part else all(kept)
