"""Times, memory and operations of one compiled program on one device."""

import dataclasses
import math
import statistics
import tempfile
import time
from typing import Any

import jax
import numpy as np
from jax.experimental.compilation_cache import compilation_cache

from dabfusion_jax.parallel import hardware
from launch.programs import Program

PyTree = Any


class TooLargeError(Exception):
  """The program does not fit into the memory of the device."""


@dataclasses.dataclass(frozen=True)
class ProgramTimes:
  """What one program takes on one device."""

  program: str
  precision: str
  batch_size: int
  milliseconds: float  # median of one call, warm
  num_calls: int
  compile_seconds: float  # from an empty cache, tracing included
  cached_compile_seconds: float  # the same again, from the persistent cache
  memory_gib: float  # peak of the program by XLA
  gflop: float  # of the program as written; the body of a loop counts once
  flop_utilisation: float | None  # None: the peak of the device is not known
  is_finite: bool


def fill(abstract: PyTree) -> PyTree:
  """Returns arrays for shapes with shardings; the same numbers on every device.

  Kernels are normal with the variance 1 / fan-in, scales and variances 1, vectors and
  the state of an optimizer 0, all else uniform in [0, 1).
  """
  rng = np.random.default_rng(0)

  def values(path: tuple, leaf: jax.ShapeDtypeStruct) -> jax.Array:
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
      key = jax.random.key(0)
      return jax.device_put(
        jax.random.split(key, leaf.shape) if leaf.shape else key, leaf.sharding
      )
    text = jax.tree_util.keystr(path)
    name = text.rstrip("]'").rpartition("'")[2]
    if "opt_state" in text or not jax.dtypes.issubdtype(leaf.dtype, np.floating):
      array = np.zeros(leaf.shape)
    elif name in ("scale", "var"):
      array = np.ones(leaf.shape)
    elif name == "kernel":
      array = rng.standard_normal(leaf.shape) / math.sqrt(math.prod(leaf.shape[:-1]))
    elif len(leaf.shape) == 1:
      array = np.zeros(leaf.shape)
    else:
      array = rng.random(leaf.shape)
    return jax.device_put(np.asarray(array, leaf.dtype), leaf.sharding)

  return jax.tree_util.tree_map_with_path(values, abstract)


def run_once(program: Program, mesh: jax.sharding.Mesh) -> PyTree:
  """Returns what a program gives for the numbers of `fill`."""
  with jax.set_mesh(mesh):
    return jax.device_get(program.function(*fill(program.arguments)))


def time_program(
  program: Program, precision: str, mesh: jax.sharding.Mesh, num_calls: int
) -> ProgramTimes:
  """Compiles a program twice, without and with a cache, and measures warm calls.

  A training step gets the state that the step before returned.

  Raises:
    TooLargeError: the device has too little memory.
  """
  try:
    return _time_program(program, precision, mesh, num_calls)
  except jax.errors.JaxRuntimeError as error:
    if "RESOURCE_EXHAUSTED" not in str(error):
      raise
    raise TooLargeError from error


def _time_program(
  program: Program, precision: str, mesh: jax.sharding.Mesh, num_calls: int
) -> ProgramTimes:
  with jax.set_mesh(mesh), tempfile.TemporaryDirectory() as cache:
    with _cache_in(cache):
      compile_seconds, lowered, compiled = _compile(program)
      jax.clear_caches()
      cached_seconds, _, compiled = _compile(program)
    memory = compiled.memory_analysis()
    flops = program_flops(lowered)
    arguments = fill(program.arguments)
    times, is_finite = [], True
    for _ in range(num_calls + 1):  # the first one warms up
      started = time.perf_counter()
      result = jax.block_until_ready(compiled(*arguments))
      times.append(time.perf_counter() - started)
      if program.name.endswith(" step"):
        state, metrics = result
        arguments = (state, *arguments[1:])
        is_finite &= bool(np.isfinite(metrics["loss"]))
    seconds = statistics.median(times[1:])
  chip = hardware.chip_of(mesh.devices.flat[0])
  known = chip is not None and flops > 0
  return ProgramTimes(
    program.name,
    precision,
    program.batch_size,
    1e3 * seconds,
    num_calls,
    compile_seconds,
    cached_seconds,
    float(memory.peak_memory_in_bytes) / 2**30,
    flops / 1e9,
    flops / seconds / chip.bf16_flops if known else None,
    is_finite,
  )


def program_flops(lowered: jax.stages.Lowered) -> float:
  """Returns the operations of a program before XLA changes it; 0 if it does not say."""
  return max(0.0, (lowered.cost_analysis() or {}).get("flops", 0.0))


def _compile(program: Program) -> tuple[float, Any, Any]:
  """Returns (seconds, lowered, compiled)."""
  started = time.perf_counter()
  lowered = program.function.lower(*program.arguments)
  compiled = lowered.compile()
  return time.perf_counter() - started, lowered, compiled


class _cache_in:
  """Keeps compiled programs in a folder for a while."""

  _NAMES = (
    "jax_compilation_cache_dir",
    "jax_persistent_cache_min_compile_time_secs",
    "jax_persistent_cache_min_entry_size_bytes",
  )

  def __init__(self, folder: str):
    self._values = (folder, 0.0, -1)

  def __enter__(self) -> None:
    self._before = tuple(getattr(jax.config, name) for name in self._NAMES)
    self._set(self._values)

  def __exit__(self, *unused: object) -> None:
    self._set(self._before)

  def _set(self, values: tuple) -> None:
    for name, value in zip(self._NAMES, values, strict=True):
      jax.config.update(name, value)
    # JAX opens the folder once per process; without this it keeps the first one.
    compilation_cache.reset_cache()
