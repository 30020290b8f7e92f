"""What a machine is used for, and what is known of it."""

import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from dabfusion_jax.parallel.hardware import choose_cpu_devices, compile_step

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


def test_operations_are_counted_where_a_compiled_program_does_not_show_them(
  monkeypatch,
):
  product = jax.jit(lambda x: x @ x)
  x = jnp.ones((32, 32))
  counted = compile_step(product, x)[1]
  assert counted >= 2 * 32**3 / jax.device_count()

  class Hidden:  # as if every product were a call of a library
    def __init__(self, lowered):
      self._lowered = lowered
      self.cost_analysis = lowered.cost_analysis

    def compile(self):
      return type("Compiled", (), {"cost_analysis": lambda _: {"flops": 0.0}})()

  class Step:
    lower = staticmethod(lambda *args: Hidden(product.lower(*args)))

  monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
  monkeypatch.setattr(jax, "device_count", lambda: 2)
  assert compile_step(Step, x)[1] >= 32**3


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
