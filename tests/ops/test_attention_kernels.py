"""Kernels for TPUs, interpreted on a CPU: they equal the plain forms of attention."""

import functools

import jax
import jax.numpy as jnp
import pytest
from attention_checks import differences, draw_arguments, value_and_gradient

from dabfusion_jax.ops import attention_kernels, kernels, platform
from dabfusion_jax.ops.attention import (
  linear_attention,
  softmax_attention,
)
from dabfusion_jax.parallel import sharding

# Name -> function, sizes b m s c of the input, n and d of the heads, is there a bias.
CASES = {
  "temporal": (softmax_attention, (2, 6, 8, 12), (4, 8), True),
  "temporal, two groups of heads": (softmax_attention, (1, 4, 16, 6), (8, 32), True),
  "spatial": (softmax_attention, (2, 6, 8, 12), (4, 8), False),
  "linear": (linear_attention, (2, 6, 8, 12), (4, 8), False),
  "linear, two groups of heads": (linear_attention, (1, 4, 16, 6), (8, 32), False),
}

# For what hardly depends on the number of groups.
IN_ONE_GROUP = [
  pytest.param(name, marks=pytest.mark.slow) if "two groups" in name else name
  for name in CASES
]


@pytest.fixture(autouse=True)
def two_sequences_at_a_time(monkeypatch):
  """Gives every case several blocks, whose gradients add up."""
  monkeypatch.setattr(attention_kernels, "_block_size", lambda x, rows: 2)


@pytest.fixture
def for_tpus(monkeypatch):
  """Lets programs be compiled for TPUs on this machine."""
  monkeypatch.setattr(platform, "_TARGETS", {"tpu"})
  jax.clear_caches()  # of what was traced without the form


@pytest.fixture
def interpreted(monkeypatch):
  """Runs kernels on this machine."""
  call = functools.partial(kernels.pl.pallas_call, interpret=True)
  monkeypatch.setattr(kernels.pl, "pallas_call", call)


@pytest.mark.parametrize("name", CASES)
def test_a_kernel_equals_the_plain_form_with_its_gradients(name, interpreted):
  function, *case = CASES[name]
  arguments = draw_arguments(*case)
  expected = value_and_gradient(function.plain)(arguments)
  found = value_and_gradient(function.tpu)(arguments)
  assert max(differences(found, expected)) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", IN_ONE_GROUP)
def test_a_kernel_of_bfloat16_is_as_near_to_float32_as_the_plain_form(
  name, interpreted
):
  function, *case = CASES[name]
  arguments = draw_arguments(*case, dtype=jnp.bfloat16)
  wide = jax.tree.map(lambda x: x.astype(jnp.float32), arguments)
  (_, expected), of_expected = value_and_gradient(function.plain)(wide)
  (_, plain), of_plain = value_and_gradient(function.plain)(arguments)
  (_, y), of_y = value_and_gradient(function.tpu)(arguments)
  found = differences((y, of_y), (expected, of_expected))
  limits = differences((plain, of_plain), (expected, of_expected))
  assert sum(found) < 1.2 * sum(limits)


@pytest.mark.parametrize("platform", ["cpu", "tpu"])
@pytest.mark.parametrize("name", ["temporal", "linear"])
def test_a_form_of_large_logits_neither_overflows_nor_divides_by_zero(
  name, platform, interpreted
):
  function, *case = CASES[name]
  x, weights, *bias = draw_arguments(*case)
  # Heads of very different size, in one group.
  scale = jnp.asarray([40.0, 1e-3, 10.0, 1.0]).reshape(1, 1, 4, 1)
  arguments = x, weights._replace(qkv=weights.qkv * scale), *bias
  expected = value_and_gradient(function.plain)(arguments)
  found = value_and_gradient(getattr(function, platform))(arguments)
  assert max(differences(found, expected)) < 1e-3


@pytest.mark.parametrize("name", ["temporal", "linear"])
def test_each_device_of_a_mesh_runs_the_kernel_on_its_own_examples(name, interpreted):
  function, (_, *sizes), *case = CASES[name]
  arguments = draw_arguments((4, *sizes), *case)
  expected = value_and_gradient(function.plain)(arguments)
  mesh = sharding.mesh_of(jax.devices()[:2], (("data", 2), ("fsdp", 1)))
  x, *rest = arguments
  with jax.set_mesh(mesh):
    x = jax.device_put(x, sharding.batch_sharding(mesh))
    found = value_and_gradient(function.tpu)((x, *rest))
  assert max(differences(found, expected)) < 1e-5
  assert found[0][1].sharding.spec[0] == sharding.AXES


@pytest.mark.slow
@pytest.mark.parametrize("name", ["temporal", "linear"])
def test_all_forms_may_be_mapped_over_an_axis(name, interpreted):
  function, *case = CASES[name]
  arguments = draw_arguments(*case)
  x, weights, *bias = arguments
  more = jnp.stack([x, 2 * x + 1])
  for form in (function, function.tpu):
    step = lambda x, form=form: value_and_gradient(form)((x, weights, *bias))
    expected = jax.tree.map(lambda *a: jnp.stack(a), step(more[0]), step(more[1]))
    assert max(differences(jax.vmap(step)(more), expected)) < 1e-5


@pytest.mark.parametrize("name", IN_ONE_GROUP)
def test_programs_for_tpus_hold_the_kernel_and_others_do_not(name, for_tpus):
  function, *case = CASES[name]
  arguments = draw_arguments(*case)
  step = value_and_gradient(function)
  for target, expected in (("tpu", 2), ("cuda", 0), ("cpu", 0)):
    exported = jax.export.export(step, platforms=[target])(arguments)
    assert exported.mlir_module().count("@tpu_custom_call") == expected, target


@pytest.mark.parametrize(
  "function, sizes, heads",
  [
    (softmax_attention, (1, 2, 5, 6), (2, 4)),  # positions not in whole tiles
    (softmax_attention, (1, 2, 8, 6), (3, 48)),  # a head in two groups
    (softmax_attention, (1, 1, 136, 2), (1, 2)),  # too long
    (linear_attention, (1, 1, 1032, 2), (1, 2)),
    (linear_attention, (1, 1, 8, 512), (8, 32)),  # too many parameters
    (linear_attention, (1, 1, 512, 512), (1, 2)),  # too many channels
  ],
)
def test_shapes_that_do_not_fit_take_the_plain_form(function, sizes, heads, for_tpus):
  step = value_and_gradient(function)
  exported = jax.export.export(step, platforms=["tpu"])(
    draw_arguments(sizes, heads, has_bias=False)
  )
  assert "tpu_custom_call" not in exported.mlir_module()


def test_a_batch_that_the_devices_cannot_share_takes_the_plain_form():
  mesh = sharding.mesh_of(jax.devices()[:2], (("data", 2), ("fsdp", 1)))
  lower = lambda: jax.jit(linear_attention.tpu).lower(
    *draw_arguments((3, 2, 8, 12), (4, 8), has_bias=False)
  )
  with jax.set_mesh(mesh):
    assert "custom_call" not in lower().as_text()
