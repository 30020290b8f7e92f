"""The blocks of stage 1 have the numbers of the paper's sources."""

import jax
import jax.numpy as jnp
import numpy as np
from fresh_weights import draw_variables

from dabfusion_jax.models.blocks import NormRelu
from dabfusion_jax.models.dense_motion import DenseMotion
from dabfusion_jax.models.keypoint_detector import (
  HEATMAP,
  KeypointDetector,
  Keypoints,
)


def test_batch_norm_has_an_epsilon_and_a_momentum_as_in_fomm():
  x = 0.01 * np.random.default_rng(0).standard_normal((2, 4, 4, 3), np.float32)
  norm, image = NormRelu(), jnp.asarray(x)
  variables = norm.init(jax.random.key(0), image, True)
  y, updates = norm.apply(variables, image, True, mutable="batch_stats")
  mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))  # 1e-4
  expected = np.maximum((x - mean) / np.sqrt(variance + 1e-5), 0)
  np.testing.assert_allclose(y, expected, atol=1e-4)
  running = updates["batch_stats"]["norm"]
  np.testing.assert_allclose(running["mean"], 0.1 * mean, rtol=1e-4)
  np.testing.assert_allclose(running["var"], 0.9 + 0.1 * variance, rtol=1e-6)


def test_heatmaps_are_sharpened_by_the_temperature():
  image = jax.random.uniform(jax.random.key(0), (1, 16, 16, 3))
  detector = lambda t: KeypointDetector(2, 4, 8, num_blocks=1, temperature=t)
  variables = draw_variables(lambda *x: detector(1.0).init(*x, False), image)

  def logits(temperature):
    model = detector(temperature)
    apply = jax.jit(lambda *x: model.apply(*x, False, mutable="intermediates"))
    _, sown = apply(variables, image)
    return sown["intermediates"][HEATMAP][0]

  np.testing.assert_allclose(logits(0.1), 10 * logits(1.0), rtol=1e-5)


def test_keypoints_that_do_not_differ_show_the_motion_nothing_of_their_places():
  image = jax.random.uniform(jax.random.key(0), (1, 16, 16, 3))
  model = DenseMotion(4, 8, num_blocks=1)

  def keypoints(place):
    jacobian = jnp.broadcast_to(jnp.eye(2), (1, 2, 2, 2))
    return Keypoints(jnp.full((1, 2, 2), place), jacobian, jnp.zeros((1, 4, 4, 2)))

  both = lambda place: (image, keypoints(place), keypoints(place))
  variables = draw_variables(lambda *x: model.init(*x, False), *both(0.0))
  apply = jax.jit(lambda *x: model.apply(*x, False))
  one, other = (apply(variables, *both(place)) for place in (0.0, 0.5))
  np.testing.assert_allclose(one.occlusion, other.occlusion, atol=1e-6)
