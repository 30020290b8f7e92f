"""The roofline's layers, functions and bounds; times are those of the machine."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.network_layers import functions_of, layers_of
from benchmarks.roofline import Cost, Rates, table
from dabfusion_jax.models.blocks import Conv, Residual, Same


class Network(nn.Module):
  """Two equal residual blocks, each with convolutions inside, and a layer of norms."""

  @nn.compact
  def __call__(self, x, train):
    for i in range(2):
      x = Residual(name=f"residual_{i}")(x, train)
    return Same(5, name="same")(x, train)


def shape(*sizes):
  return jax.ShapeDtypeStruct(sizes, jnp.float32)


def test_layers_are_the_outermost_and_equal_ones_count_together():
  layers = layers_of(Network(), shape(1, 8, 8, 4), True)
  counts = {str(layer): count for layer, count in layers.items()}
  assert counts == {"Residual, 1 x 8 x 8 x 4": 2, "Same, 1 x 8 x 8 x 4 to 5": 1}
  assert all(layer.arguments[1] is True for layer in layers)


def test_a_layer_is_called_with_its_gradient_to_weights_and_inputs():
  class Single(nn.Module):
    @nn.compact
    def __call__(self, x):
      return Conv(3, name="conv")(x)

  ((layer, _),) = layers_of(Single(), shape(1, 6, 6, 2)).items()
  (_, forward, abstract), (_, gradient, more) = functions_of(layer)
  rng = np.random.default_rng(0)
  draw = lambda x: jnp.asarray(rng.standard_normal(x.shape), x.dtype)
  weight, params, state, x = jax.tree.map(draw, more)
  assert jax.tree.map(np.shape, abstract) == jax.tree.map(np.shape, (params, state, x))
  result, grads = gradient(weight, params, state, x)
  np.testing.assert_allclose(result, forward(params, state, x)[0], rtol=1e-6)
  loss = lambda params, x: (layer.module.apply({"params": params}, x) * weight).sum()
  expected = jax.grad(loss, (0, 1))(params, x)
  compare = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
  jax.tree.map(compare, grads, expected)


def test_a_bound_is_of_arithmetic_or_of_memory_and_a_sum_counts_all_layers():
  rates = Rates(flops=1e9, bytes=1e8)
  assert Cost(1.0, 5e8, 1e7).bound(rates) == 0.5
  assert Cost(1.0, 5e8, 9e7).bound(rates) == 0.9
  assert rates.or_faster(Rates(flops=2e9, bytes=5e7)) == Rates(flops=2e9, bytes=1e8)
  row = {"layer": "a", "count": 3, "seconds": 0.5, "flops": 1e9, "bytes": 1e6}
  rows = [row | {"bound": 0.25}, row | {"layer": "b", "count": 1, "bound": 0.5}]
  (text,) = table(rows)
  first, second, total = text.splitlines()[2:]
  assert first.split(" | ")[0] == "| a" and first.endswith("| 50% | 1.5e+03 |")
  assert second.endswith("| 100% | 500 |")
  assert total.endswith("| 4 |  | 1.25e+03 | 62% | 2e+03 |")
