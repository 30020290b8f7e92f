"""Coordinates and softmaxes are computed in float32, whatever the device and dtype."""

import functools

import jax
import jax.numpy as jnp
import pytest
from fresh_weights import draw_variables
from jax.extend import core

from dabfusion_jax.losses.equivariance import equivariance_errors
from dabfusion_jax.models.keypoint_detector import KeypointDetector
from dabfusion_jax.models.matching import Matching
from dabfusion_jax.ops.grid import transform_points


def operations(function, *inputs):
  """Returns the operations of a function, those inside others too."""

  def inside(jaxpr):
    for equation in jaxpr.eqns:
      yield equation
      for value in equation.params.values():
        if isinstance(value, core.ClosedJaxpr):
          value = value.jaxpr
        if isinstance(value, core.Jaxpr):
          yield from inside(value)

  return list(inside(jax.make_jaxpr(function)(*inputs).jaxpr))


def errors(*inputs):
  position, jacobian = jnp.zeros((3, 2)), jnp.tile(jnp.eye(2), (3, 1, 1))
  return equivariance_errors(position, jacobian, position, jacobian, *inputs)


def detect(image):
  detector = KeypointDetector(3, 4, 8, 1)
  init = functools.partial(detector.init, train=False)
  return detector.apply(draw_variables(init, image), image, train=False)


@pytest.mark.parametrize(
  ("function", "inputs", "gives"),
  [
    (transform_points, (jnp.zeros((4, 4, 2)), jnp.eye(2, 3), jnp.zeros(25)), None),
    (errors, (jnp.eye(2, 3), jnp.zeros(25)), None),
    (detect, (jnp.zeros((1, 32, 32, 3)),), (1, 3, 2, 2)),  # jacobians of 3 keypoints
  ],
)
def test_products_of_coordinates_have_all_digits_on_every_device(
  function, inputs, gives
):
  found = operations(function, *inputs)
  products = [x for x in found if x.primitive.name == "dot_general"]
  products = [x for x in products if gives in (None, x.outvars[0].aval.shape)]
  assert products
  for product in products:
    assert product.params["precision"] == (jax.lax.Precision.HIGHEST,) * 2, product


def test_in_bfloat16_places_come_from_float32():
  network = Matching(features=8, num_layers=1, num_heads=2, dtype=jnp.bfloat16)
  images = jnp.zeros((1, 32, 32, 3)), jnp.zeros((1, 32, 32, 3))
  variables = draw_variables(functools.partial(network.init, train=False), *images)
  found = operations(lambda *x: network.apply(variables, *x, train=False), *images)
  of = lambda name: [x.outvars[0].aval for x in found if x.primitive.name == name]
  assert of("exp") and {x.dtype for x in of("exp")} == {jnp.dtype("float32")}
  # Logits: 4 x 4 cells of the driving frame by 8 x 8 places in the reference.
  logits = [x for x in of("dot_general") if x.shape[1:] == (4, 4, 8, 8)]
  assert [x.dtype for x in logits] == [jnp.dtype("float32")]
  assert any(x.dtype == jnp.bfloat16 for x in of("dot_general"))
