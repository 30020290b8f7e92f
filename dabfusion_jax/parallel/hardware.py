"""Published rates of accelerators, and what a compiled step asks of them."""

import os
import resource
import time
from dataclasses import dataclass
from typing import Any

import jax
from absl import logging

from data_pipeline.errors import UserError
from data_pipeline.workers import count_cores


@dataclass(frozen=True)
class Chip:
  """Published rates of one device, in SI units."""

  bf16_flops: float  # per second, dense
  hbm_bytes: float
  hbm_bandwidth: float  # bytes per second
  link_bandwidth: float  # bytes per second sent by one chip, over all its links


# Google Cloud's pages on TPU v4, v5e, v5p and v6e, whose interconnect figures in Gbps
# count one direction; NVIDIA's data sheets of the A100 (80 GB), H100 and H200 SXM, half
# of their NVLink figures.
CHIPS = {
  "v4": Chip(275e12, 32 * 2.0**30, 1200e9, 2400e9 / 8),
  "v5e": Chip(197e12, 16 * 2.0**30, 819e9, 1600e9 / 8),
  "v5p": Chip(459e12, 95 * 2.0**30, 2765e9, 4800e9 / 8),
  "v6e": Chip(918e12, 32 * 2.0**30, 1638e9, 3200e9 / 8),
  "a100": Chip(312e12, 80e9, 2039e9, 300e9),
  "h100": Chip(989e12, 80e9, 3350e9, 450e9),
  "h200": Chip(989e12, 141e9, 4800e9, 450e9),
}
# Names by JAX, in `device_kind`.
_KINDS = {
  "TPU v4": "v4",
  "TPU v5 lite": "v5e",
  "TPU v5": "v5p",
  "TPU v5p": "v5p",
  "TPU v6 lite": "v6e",
  "TPU v6e": "v6e",
  "NVIDIA A100-SXM4-80GB": "a100",
  "NVIDIA H100 80GB HBM3": "h100",
  "NVIDIA H200": "h200",
}


# Each holds a copy of the state; with more, XLA's own threads are as fast.
_MAX_CPU_DEVICES = 8
# Each keeps a batch ready, and takes some 0.3 GB.
_MAX_READING_PROCESSES = 16


def use_cpu_cores(batch_size: int = 0) -> None:
  """Uses one CPU device per core, limited to a divisor of `batch_size` (0: no limit).

  XLA splits a batch over devices better than one operation over cores. It has no effect
  if the program runs on accelerators. Call it before anything touches a device. A
  number given by JAX_NUM_CPU_DEVICES or XLA_FLAGS is kept.
  """
  given = jax.config.jax_num_cpu_devices != -1
  if given or "device_count" in os.environ.get("XLA_FLAGS", ""):
    return
  number = choose_cpu_devices(count_cores(), batch_size)
  if number > 1:
    jax.config.update("jax_num_cpu_devices", number)


def check_backend() -> None:
  """Checks that there is a device of the platform that JAX_PLATFORMS asks for.

  Raises:
    UserError: there is none.
  """
  asked = os.environ.get("JAX_PLATFORMS", "")
  try:
    jax.local_devices()
    # Without a GPU, JAX takes the next platform of a list that begins with it.
    if asked.partition(",")[0] not in ("", "cpu") and jax.default_backend() == "cpu":
      raise RuntimeError("but a CPU")
  except (RuntimeError, AssertionError) as error:
    reason = (str(error).strip().splitlines() or ["no reason given"])[0]
    raise UserError(
      f"JAX finds no device of the platform {asked or 'its default'} ({reason[:160]});"
      " unset JAX_PLATFORMS to use what this machine has."
    ) from error


def choose_cpu_devices(cores: int, batch_size: int) -> int:
  """Returns the largest number of devices, at most `cores`, that divides the batch."""
  most = max(1, min(cores, batch_size or cores, _MAX_CPU_DEVICES))
  return next(n for n in range(most, 0, -1) if batch_size % n == 0)


def choose_reading_processes() -> int:
  """Returns how many processes should read the data of a training here; 0: threads.

  With accelerators, two cores are left to the loop; below four cores, threads read.
  On CPUs the training needs the cores itself, and its steps are long.
  """
  cores = count_cores()
  if jax.default_backend() == "cpu" or cores < 4:
    return 0
  return min(cores - 2, _MAX_READING_PROCESSES)


def chip_of(device: jax.Device) -> Chip | None:
  """Returns the published rates of a device; None if it is not in the table."""
  return CHIPS.get(_KINDS.get(device.device_kind, ""))


def compile_step(step_fn: Any, *arguments: Any, num_devices: int) -> tuple[Any, float]:
  """Compiles a jitted function that runs on `num_devices`.

  Returns:
    The compiled function, and its FLOPs on one device (0 if XLA does not say): those of
    the compiled program, recomputation included, with the body of a loop counted once.
    On a GPU, where calls of libraries would count as nothing, those of the program as
    written, an equal share for every device.
  """
  started = time.monotonic()
  lowered = step_fn.lower(*arguments)
  compiled = lowered.compile()
  if jax.default_backend() == "gpu":
    flops = program_flops(lowered) / num_devices
  else:
    flops = max(0.0, (compiled.cost_analysis() or {}).get("flops", 0.0))
  logging.info(
    "Compiled the training step in %.1f s; %.4g GFLOP per device.",
    time.monotonic() - started,
    flops / 1e9,
  )
  return compiled, flops


def program_flops(lowered: jax.stages.Lowered) -> float:
  """Returns the operations of a program as written, of all devices together.

  They are those before XLA changes it, with the body of a loop counted once and kernels
  of GPUs left out. Accelerators do not count them, so the CPU's analysis does.
  0: this process has no CPU device, or the analysis fails.
  """
  try:
    from jaxlib import _jax  # JAX keeps `hlo_module_cost_analysis` private

    client = jax.local_devices(backend="cpu")[0].client
    module = lowered.compiler_ir("hlo").as_hlo_module()
    costs = _jax.hlo_module_cost_analysis(client, module)
  except Exception as error:  # of any kind: the program itself matters more
    logging.warning("The operations of the program are not counted: %s", error)
    return 0.0
  return max(0.0, costs.get("flops", 0.0))


def peak_memory() -> tuple[str, float]:
  """Returns the highest memory use so far, as (name, GiB).

  The name is "device_memory_gib" for the first local device if it reports its use, else
  "host_memory_gib" for this process.
  """
  stats = jax.local_devices()[0].memory_stats()
  if stats and "peak_bytes_in_use" in stats:
    return "device_memory_gib", stats["peak_bytes_in_use"] / 2**30
  kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  return "host_memory_gib", kib / 2**20
