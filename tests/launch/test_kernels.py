"""Kernels of attention, compiled for TPUs that are not here."""

import importlib.util

import jax
import jax.numpy as jnp
import pytest

from dabfusion_jax.ops.attention import (
  AttentionWeights,
  linear_attention,
  softmax_attention,
)
from launch.chips import make_topology_mesh

pytestmark = pytest.mark.skipif(
  importlib.util.find_spec("libtpu") is None, reason="libtpu (extra tpu) not installed"
)
HEADS, HEAD_DIM = 8, 32


def _compile(function, sizes, has_bias):
  """Compiles value and gradients for a mesh of chips with the least on-chip memory."""
  mesh = make_topology_mesh("v4:2x2x1", 1, (("data", -1), ("fsdp", 1)))
  split = jax.NamedSharding(mesh, jax.P(("data", "fsdp")))
  whole = jax.NamedSharding(mesh, jax.P())
  array = lambda shape, dtype, where: jax.ShapeDtypeStruct(shape, dtype, sharding=where)
  channels, inner = sizes[-1], HEADS * HEAD_DIM
  weights = AttentionWeights(
    array((channels,), jnp.float32, whole),
    array((channels, 3, HEADS, HEAD_DIM), jnp.bfloat16, whole),
    array((inner, channels), jnp.bfloat16, whole),
  )
  bias = (array((HEADS, sizes[1], sizes[1]), jnp.float32, whole),) if has_bias else ()
  x = array((2 * mesh.size, *sizes), jnp.bfloat16, split)
  loss = lambda arguments: function(*arguments).astype(jnp.float32).sum()
  with jax.set_mesh(mesh):
    return jax.jit(jax.value_and_grad(loss)).lower((x, weights, *bias)).compile()


@pytest.mark.parametrize(
  "function, sizes, has_bias",
  [
    (softmax_attention, (16, 40, 512), True),  # the most parameters
    (softmax_attention, (40, 16, 512), False),
    (linear_attention, (40, 1024, 64), False),  # the longest sequences
    (linear_attention, (40, 16, 512), False),
  ],
)
def test_layers_of_the_paper_fit_on_the_chip(function, sizes, has_bias):
  program = _compile(function, sizes, has_bias)
  assert program.as_text().count('"tpu_custom_call"') == 2


def test_a_kernel_moves_a_tenth_of_the_bytes_and_counts_the_same_work():
  sizes = (1024, 40, 64)
  kernel, plain = (
    _compile(form, sizes, True).cost_analysis()
    for form in (softmax_attention, jax.checkpoint(softmax_attention.plain))
  )
  assert kernel["bytes accessed"] < plain["bytes accessed"] / 10
  assert kernel["flops"] == pytest.approx(plain["flops"], rel=0.05)
