"""Operations with a CPU form: it equals the plain form that other platforms run."""

import collections
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dabfusion_jax.ops import attention
from dabfusion_jax.ops import platform as platforms
from dabfusion_jax.ops.attention import (
  AttentionWeights,
  linear_attention,
  softmax_attention,
)
from dabfusion_jax.ops.convolutions import (
  conv_few_channels,
  conv_im2col,
  conv_tiny,
  conv_transpose_frames,
  conv_upsampled_large,
)
from dabfusion_jax.ops.platform import forms
from dabfusion_jax.ops.pooling import max_pool

WEIGHTS = AttentionWeights((6,), (6, 3, 2, 4), (8, 6))
# Name -> function, shapes of its arrays, settings.
CASES = {
  "conv_tiny": (conv_tiny, ((2, 2, 3, 8), (3, 3, 8, 5)), {"padding": 1}),
  "conv_tiny, 1 x 1": (conv_tiny, ((2, 3, 3, 8), (1, 1, 8, 5)), {"padding": 0}),
  "conv_im2col": (conv_im2col, ((2, 3, 4, 6, 3), (3, 3, 3, 5)), {"padding": 1}),
  "conv_im2col, few outputs": (
    conv_im2col,
    ((2, 1, 5, 6, 12), (7, 7, 12, 3)),
    {"padding": 3},
  ),
  "conv_im2col, 7 x 1": (
    conv_im2col,
    ((2, 1, 4, 6, 5), (7, 1, 5, 3)),
    {"padding": 3},
  ),
  "conv_im2col, even": (
    conv_im2col,
    ((2, 2, 4, 6, 5), (4, 4, 5, 3)),
    {"padding": 0},
  ),
  "conv_upsampled": (conv_upsampled_large, ((2, 5, 4, 3), (3, 3, 3, 5)), {}),
  "conv_few_channels": (conv_few_channels, ((2, 3, 6, 5, 3), (1, 7, 7, 3, 4)), {}),
  "conv_transpose": (conv_transpose_frames, ((2, 3, 4, 5, 6), (1, 4, 4, 7, 6)), {}),
  "max_pool 2": (max_pool, ((2, 6, 7, 4),), {"size": 2}),
  "max_pool 3": (max_pool, ((2, 6, 7, 4),), {"size": 3}),
  "softmax_attention": (softmax_attention, ((2, 3, 5, 6), WEIGHTS), {}),
  "temporal attention": (softmax_attention, ((2, 3, 5, 6), WEIGHTS, (2, 5, 5)), {}),
  "linear_attention": (linear_attention, ((2, 3, 5, 6), WEIGHTS), {}),
}


def _is_shape(x):
  return type(x) is tuple and all(isinstance(size, int) for size in x)


def _arrays(shapes):
  rng = np.random.default_rng(0)
  draw = lambda shape: jnp.asarray(rng.standard_normal(shape), jnp.float32)
  return jax.tree.map(draw, shapes, is_leaf=_is_shape)


def _value_and_gradient(form, settings):
  """Returns a function of arrays; the loss weighs every output differently."""
  form = jax.checkpoint(functools.partial(form, **settings))

  def loss(arrays):
    y = form(*arrays)
    return (y * jnp.cos(jnp.arange(float(y.size))).reshape(y.shape)).sum(), y

  return jax.value_and_grad(loss, has_aux=True)


@pytest.mark.parametrize("name", CASES)
def test_both_forms_agree_with_their_gradients(name):
  function, shapes, settings = CASES[name]
  arrays = _arrays(shapes)
  plain, cpu = (
    jax.jit(_value_and_gradient(form, settings))(arrays)
    for form in (function.plain, function.cpu)
  )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), cpu, plain
  )


def _operations(function, platform, arrays):
  """Returns how often each operation occurs in the program for a platform.

  Leaves out zeros, barriers of remat, and what a conditional of one branch consists of.
  """
  exported = jax.export.export(jax.jit(function), platforms=[platform])(arrays)
  names = re.findall(r"stablehlo\.(\w+)", exported.mlir_module())
  left_out = {"case", "return", "constant", "broadcast_in_dim", "optimization_barrier"}
  return collections.Counter(name for name in names if name not in left_out)


@pytest.mark.parametrize("name", CASES)
def test_a_program_holds_the_form_of_its_platform_only(name, monkeypatch):
  monkeypatch.setattr(platforms, "_TARGETS", {"tpu"})
  function, shapes, settings = CASES[name]
  arrays = _arrays(shapes)
  chosen, plain, cpu = (
    _value_and_gradient(form, settings)
    for form in (function, function.plain, function.cpu)
  )
  for platform, form in (("tpu", plain), ("cuda", plain), ("cpu", cpu)):
    found, expected = (_operations(f, platform, arrays) for f in (chosen, form))
    assert found == expected, platform
  assert _operations(plain, "tpu", arrays) != _operations(cpu, "tpu", arrays)


@pytest.mark.parametrize(
  "name", ["softmax_attention", "temporal attention", "linear_attention"]
)
def test_chunks_of_sequences_change_neither_value_nor_gradient(name, monkeypatch):
  function, shapes, _ = CASES[name]
  arrays = _arrays(shapes)

  def run(cache_floats):
    monkeypatch.setattr(attention, "_CACHE_FLOATS", cache_floats)
    lowered = jax.jit(_value_and_gradient(function.cpu, {})).lower(arrays)
    return lowered.compile()(arrays), "while" in lowered.as_text()

  (whole, has_loop), (chunked, has_loop_in_chunks) = run(10**9), run(1)
  assert not has_loop and has_loop_in_chunks
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), chunked, whole
  )


def test_every_operation_may_be_told_to_take_its_plain_form(monkeypatch):
  operation = forms(cpu=lambda x: 2 * x, tpu=lambda x: 3 * x)(lambda x: x)
  assert jax.jit(lambda x: operation(x))(1.0) == 2.0
  monkeypatch.setenv("DABFUSION_FORMS", "plain")
  assert jax.jit(lambda x: operation(x))(1.0) == 1.0


def test_the_form_is_chosen_inside_every_transformation():
  @forms(cpu=lambda x, *, power: 2 * x**power)
  def operation(x, *, power):
    return x**power

  x = jnp.arange(8.0)
  mesh = jax.make_mesh((4,), ("row",), axis_types=(jax.sharding.AxisType.Auto,))
  rows = jax.P("row")
  square = lambda x: operation(x, power=2)
  mapped = jax.shard_map(square, mesh=mesh, in_specs=rows, out_specs=rows)
  slope = jax.grad(jax.checkpoint(square))
  for function, expected in (
    (square, 2 * x**2),
    (jax.jit(square), 2 * x**2),
    (jax.vmap(square), 2 * x**2),
    (jax.jit(mapped), 2 * x**2),
    (jax.jit(jax.vmap(slope)), 4 * x),
    (lambda x: jax.lax.map(jax.jit(slope), x), 4 * x),
    (lambda x: jax.jvp(square, (x,), (x,))[1], 4 * x**2),
  ):
    np.testing.assert_allclose(function(x), expected)


def test_only_forms_that_may_be_compiled_are_traced(monkeypatch):
  traced = []

  def form(name):
    def add(x, *, by=1):
      traced.append(name)
      return x + by

    return add

  add = forms(cpu=form("cpu"), tpu=form("tpu"))(form("plain"))
  assert jax.jit(lambda x: 2 * add(x, by=1))(1.0) == 4 and traced == ["cpu"]
  traced.clear()
  monkeypatch.setattr(platforms, "_TARGETS", {"tpu"})
  assert jax.jit(lambda x: 2 * add(x))(1.0) == 4
  assert sorted(traced) == ["cpu", "plain", "tpu"]
