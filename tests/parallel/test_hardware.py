"""What a machine is used for, and what is known of it."""

import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from dabfusion_jax.parallel import hardware
from dabfusion_jax.parallel.hardware import (
  choose_cpu_devices,
  compile_step,
  program_flops,
)

_ROOT = pathlib.Path(__file__).parents[2]
SCRIPT = """
import jax
from dabfusion_jax.parallel import hardware
hardware.use_cpu_cores(840)
print(jax.local_device_count("cpu"))
"""


@pytest.mark.parametrize(
  ("cores", "batch_size", "number"),
  [(1, 16, 1), (2, 16, 2), (2, 5, 1), (6, 4, 4), (7, 12, 6), (64, 16, 8), (4, 1, 1)],
)
def test_every_core_is_a_device_as_far_as_the_batch_divides(cores, batch_size, number):
  assert choose_cpu_devices(cores, batch_size) == number


def _convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
  return jnp.tanh(jax.lax.conv(x, kernel, (1, 1), "SAME")).sum()


def _lower_convolution(platform: str) -> jax.stages.Lowered:
  traced = jax.jit(_convolve).trace(jnp.ones((2, 8, 16, 16)), jnp.ones((4, 8, 3, 3)))
  return traced.lower(lowering_platforms=(platform,))


def test_a_program_for_a_gpu_has_as_many_operations_as_for_the_cpu():
  expected = _lower_convolution("cpu").cost_analysis()["flops"]
  assert expected > 2 * 2 * 4 * 14 * 14 * 8 * 9  # products of a filter of 3 x 3
  assert program_flops(_lower_convolution("cuda")) == expected
  assert program_flops(_lower_convolution("cpu")) == expected


def test_operations_that_cannot_be_counted_are_none(monkeypatch):
  def no_cpu(backend=None):
    raise RuntimeError("Unknown backend cpu")

  lowered = _lower_convolution("cpu")
  monkeypatch.setattr(jax, "local_devices", no_cpu)
  assert program_flops(lowered) == 0


def test_a_step_on_gpus_has_an_equal_share_of_the_operations(monkeypatch):
  product = jax.jit(lambda x: x @ x)
  x = jnp.ones((32, 32))
  counted = compile_step(product, x, num_devices=1)[1]
  assert counted >= 2 * 32**3

  expected = product.lower(x).cost_analysis()["flops"] / 2
  # As on GPUs: the lowered program does not count, and a compiled product is a call.
  monkeypatch.setattr(jax.stages.Lowered, "cost_analysis", lambda _: None)
  monkeypatch.setattr(jax.stages.Compiled, "cost_analysis", lambda _: {"flops": 0.0})
  monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
  assert compile_step(product, x, num_devices=2)[1] == expected


@pytest.mark.parametrize("given", [{}, {"JAX_NUM_CPU_DEVICES": "3"}])
def test_cores_become_devices_unless_told_otherwise(given):
  """A batch of 840 divides by every number up to eight."""
  environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
  environment |= {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(_ROOT)}
  printed = subprocess.run(
    [sys.executable, "-c", SCRIPT],
    env=environment | given,
    capture_output=True,
    text=True,
    timeout=120,
    check=True,
  ).stdout
  cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
  if given:
    assert int(printed) == 3
  elif cores:
    assert int(printed) == min(8, cores)


@pytest.mark.parametrize(
  ("backend", "cores", "number"),
  [("cpu", 16, 0), ("gpu", 2, 0), ("gpu", 4, 2), ("gpu", 16, 14), ("tpu", 96, 16)],
)
def test_processes_read_for_an_accelerator_and_leave_cores_to_the_loop(
  monkeypatch, backend, cores, number
):
  monkeypatch.setattr(jax, "default_backend", lambda: backend)
  monkeypatch.setattr(hardware, "count_cores", lambda: cores)
  assert hardware.choose_reading_processes() == number
