"""The kernel for NVIDIA's GPUs: where it runs, and interpreted, what it computes."""

import functools
import re
import sys
import types
import warnings

import jax
import jax.numpy as jnp
import pytest
from attention_checks import differences, draw_arguments, value_and_gradient

from dabfusion_jax.ops import attention_triton, kernel_calls, platform
from dabfusion_jax.ops.attention import softmax_attention
from dabfusion_jax.parallel import sharding

SIZES, HEADS = (2, 6, 5, 12), (4, 16)  # b m s c; n d


@pytest.fixture
def interpreted(monkeypatch):
  """Runs kernels on this machine, several sequences in each of several blocks."""
  call = functools.partial(attention_triton.pl.pallas_call, interpret=True)
  monkeypatch.setattr(attention_triton.pl, "pallas_call", call)
  monkeypatch.setattr(attention_triton, "_PROGRAMS", 16)


@pytest.fixture
def for_gpus(monkeypatch):
  """Lets programs be compiled for GPUs on this machine."""
  monkeypatch.setattr(platform, "_TARGETS", {"cuda"})
  jax.clear_caches()  # of what was traced without the form


def _arguments(sizes=SIZES, heads=HEADS, dtype=jnp.bfloat16):
  return draw_arguments(sizes, heads, dtype=dtype)


def _kernels(form, arguments):
  """Returns the kernels that a form calls, with its gradient."""
  text = str(jax.make_jaxpr(value_and_gradient(form))(arguments))
  return re.findall(r"attend_\w+", text)


@pytest.mark.parametrize("positions", [5, 16])  # with padding, without
def test_the_kernel_equals_the_plain_form_with_its_gradients(
  positions, interpreted, monkeypatch
):
  monkeypatch.setattr(attention_triton, "_DTYPE", jnp.float32)
  arguments = _arguments((2, 6, positions, 12), dtype=jnp.float32)
  expected = value_and_gradient(softmax_attention.plain)(arguments)
  assert _kernels(softmax_attention.cuda, arguments)
  found = value_and_gradient(softmax_attention.cuda)(arguments)
  assert max(differences(found, expected)) < 1e-5


def test_the_kernel_is_as_near_to_float32_as_the_plain_form(interpreted):
  arguments = _arguments()
  wide = jax.tree.map(lambda x: x.astype(jnp.float32), arguments)
  (_, expected), of_expected = value_and_gradient(softmax_attention.plain)(wide)
  (_, plain), of_plain = value_and_gradient(softmax_attention.plain)(arguments)
  (_, y), of_y = value_and_gradient(softmax_attention.cuda)(arguments)
  found = differences((y, of_y), (expected, of_expected))
  limits = differences((plain, of_plain), (expected, of_expected))
  assert sum(found) < 1.2 * sum(limits)


def test_each_device_of_a_mesh_runs_the_kernel_on_its_own_examples(
  interpreted, monkeypatch
):
  monkeypatch.setattr(attention_triton, "_DTYPE", jnp.float32)
  x, *rest = _arguments((4, *SIZES[1:]), dtype=jnp.float32)
  expected = value_and_gradient(softmax_attention.plain)((x, *rest))
  mesh = sharding.mesh_of(jax.devices()[:2], (("data", 2), ("fsdp", 1)))
  with jax.set_mesh(mesh):
    x = jax.device_put(x, sharding.batch_sharding(mesh))
    step = value_and_gradient(softmax_attention.cuda)
    # XLA could split interpreted kernels by itself.
    assert str(jax.make_jaxpr(step)((x, *rest))).count("shard_map[") == 2
    found = step((x, *rest))
  assert max(differences(found, expected)) < 1e-5
  assert found[0][1].sharding.spec[0] == sharding.AXES


@pytest.mark.slow
def test_the_form_may_be_mapped_over_an_axis_and_called_without_jit(interpreted):
  x, *rest = _arguments()
  more = jnp.stack([x, 2 * x + 1])
  form = lambda x: softmax_attention.cuda(x, *rest).astype(jnp.float32)
  expected = jnp.stack([jax.jit(form)(x) for x in more])
  assert max(differences(jax.vmap(form)(more), expected)) < 1e-5
  assert max(differences(form(x), expected[0])) < 1e-2


def test_what_the_kernel_does_not_take_has_the_plain_form():
  x, weights, bias = _arguments()
  fits = lambda *arguments: bool(_kernels(softmax_attention.cuda, arguments))
  assert fits(x, weights, bias)
  assert fits(*_arguments((1, 1, 64, 12)))
  assert not fits(*_arguments((1, 1, 65, 12)))  # too long
  assert not fits(*_arguments(heads=(2, 8)))  # too few features
  assert not fits(*_arguments(heads=(2, 24)))  # no power of two
  assert not fits(*_arguments(heads=(2, 128)))  # too many
  assert not fits(*_arguments(dtype=jnp.float32))
  assert not fits(x, jax.tree.map(lambda a: a.astype(jnp.float32), weights), bias)
  assert not fits(x, weights)  # no bias


def test_a_batch_that_the_devices_cannot_share_takes_the_plain_form():
  mesh = sharding.mesh_of(jax.devices()[:2], (("data", 2), ("fsdp", 1)))
  with jax.set_mesh(mesh):
    assert not _kernels(softmax_attention.cuda, _arguments((3, *SIZES[1:])))


@pytest.mark.parametrize(("capability", "expected"), [("7.5", 0), ("10.0", 1)])
def test_gpus_without_products_of_bfloat16_take_the_plain_form(
  capability, expected, monkeypatch
):
  device = types.SimpleNamespace(compute_capability=capability)
  monkeypatch.setattr(jax, "local_devices", lambda: [device])
  assert bool(_kernels(softmax_attention.cuda, _arguments())) == expected


def test_a_jax_without_the_backend_takes_the_plain_form(monkeypatch):
  name = "dabfusion_jax.ops.attention_triton"
  monkeypatch.delitem(sys.modules, name)
  monkeypatch.delattr(sys.modules["dabfusion_jax.ops"], "attention_triton")
  monkeypatch.delattr(attention_triton.pl, "triton")
  monkeypatch.setitem(sys.modules, "jax.experimental.pallas.triton", None)
  assert not _kernels(softmax_attention.cuda, _arguments())


@pytest.mark.parametrize(
  "backend", [pytest.param("gpu", marks=pytest.mark.slow), "cuda"]
)
def test_the_form_is_traced_where_there_is_a_gpu(backend, monkeypatch):
  assert not _kernels(softmax_attention, _arguments())
  monkeypatch.setattr(jax, "default_backend", lambda: backend)
  jax.clear_caches()
  assert _kernels(softmax_attention, _arguments())
  monkeypatch.setenv("DABFUSION_FORMS", "plain")
  jax.clear_caches()
  assert not _kernels(softmax_attention, _arguments())


def test_the_form_is_traced_for_programs_that_are_compiled_for_gpus(for_gpus):
  assert _kernels(softmax_attention, _arguments())


def _lower(platform_name, arguments):
  """Returns the program of a platform, for an H100 if it is CUDA."""
  device = jax.sharding.AbstractDevice("NVIDIA H100 80GB HBM3", None, "gpu")
  mesh = jax.sharding.AbstractMesh((1,), ("x",), abstract_device=device)
  with jax.sharding.use_abstract_mesh(mesh):
    traced = value_and_gradient(softmax_attention).trace(arguments)
    return traced.lower(lowering_platforms=(platform_name,)).as_text()


def test_programs_for_gpus_hold_the_kernel_and_others_do_not(for_gpus):
  # Forward, again in the backward pass, and backward.
  for name, expected in (("cuda", 3), ("tpu", 0), ("cpu", 0)):
    text = _lower(name, _arguments())
    assert text.count("@__gpu$xla.gpu.triton") == expected, name


def test_no_program_warns_that_the_backend_is_deprecated(for_gpus):
  with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    _lower("cuda", _arguments())
  assert not [str(warning.message) for warning in caught]


def test_only_that_warning_is_left_out():
  context = attention_triton._without_notice

  def call(x):
    return [2 * x]

  def lower(*arguments, **settings):
    warnings.warn(f"{attention_triton._NOTICE} and will be", DeprecationWarning, 1)
    warnings.warn("something else", DeprecationWarning, 1)

  with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    with context():
      lower()
  assert [str(warning.message) for warning in caught] == ["something else"]
  double = kernel_calls.lazy("double", call, lambda x: x, context)
  assert jax.jit(double.bind)(3.0) == [6.0]
