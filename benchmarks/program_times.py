"""Times, memory and operations of one compiled program on one device."""

import contextlib
import dataclasses
import math
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental.compilation_cache import compilation_cache

from dabfusion_jax.parallel import hardware
from launch.programs import Program

PyTree = Any

_MIN_CALLS, _MAX_SECONDS = 3, 2.0  # of the timed calls of a program
_NUMBERS = 1_000_003  # drawn once, then repeated: drawing all would take seconds


class HostLock:
  """Keeps tracing away from timing: it holds Python's interpreter lock for seconds.

  Whoever wants to time waits for the current trace, but not for the next one.
  """

  def __init__(self):
    self._next, self._busy = threading.Lock(), threading.Lock()

  @contextlib.contextmanager
  def tracing(self) -> Iterator[None]:
    """Returns a context in which nothing is timed."""
    with self._next:
      pass
    with self._busy:
      yield

  @contextlib.contextmanager
  def timing(self) -> Iterator[None]:
    """Returns a context in which nothing is traced."""
    with self._next, self._busy:
      yield


HOST = HostLock()


@dataclasses.dataclass(frozen=True)
class ProgramTimes:
  """What one program takes on one device."""

  program: str
  precision: str
  batch_size: int
  milliseconds: float  # median of one call, warm
  num_calls: int
  timed_beside: str  # what else ran while it was timed; "": nothing of this benchmark
  trace_seconds: float  # by Python; it does not wait for other programs' tracing
  compile_seconds: float  # by XLA, from an empty cache
  compiled_beside: str  # what else ran meanwhile; then both take longer than alone
  cached_compile_seconds: float | None  # from the persistent cache; None: not measured
  memory_gib: float | None  # peak of the program by XLA; None: it does not say
  gflop: float  # of the program as written; the body of a loop counts once
  flop_utilisation: float | None  # None: the peak of the device is not known
  is_finite: bool


@dataclasses.dataclass(frozen=True)
class Traced:
  """A program ready to be compiled."""

  lowered: jax.stages.Lowered
  seconds: float
  flops: float  # 0: not known


@dataclasses.dataclass(frozen=True)
class Compiled:
  """A compiled program, and what it took."""

  call: jax.stages.Compiled
  seconds: float


def fill(abstract: PyTree) -> PyTree:
  """Returns arrays for shapes with shardings; the same numbers on every device.

  Kernels are normal with the variance 1 / fan-in, scales and variances 1, vectors and
  the state of an optimizer 0, all else uniform in [0, 1).
  """
  rng = np.random.default_rng(0)
  normal = rng.standard_normal(_NUMBERS, np.float32)

  def values(path: tuple, leaf: jax.ShapeDtypeStruct) -> jax.Array:
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
      key = jax.random.key(0)
      return jax.device_put(
        jax.random.split(key, leaf.shape) if leaf.shape else key, leaf.sharding
      )
    text = jax.tree_util.keystr(path)
    name = text.rstrip("]'").rpartition("'")[2]
    if "opt_state" in text or not jax.dtypes.issubdtype(leaf.dtype, np.floating):
      array = np.zeros(leaf.shape, leaf.dtype)
    elif name in ("scale", "var"):
      array = np.ones(leaf.shape)
    elif name == "kernel":
      begin = rng.integers(_NUMBERS // 2)  # no two kernels begin alike
      array = np.resize(normal[begin:], leaf.shape)
      array /= math.sqrt(math.prod(leaf.shape[:-1]))
    elif len(leaf.shape) == 1:
      array = np.zeros(leaf.shape)
    else:
      array = rng.random(leaf.shape, np.float32)
    return jax.device_put(np.asarray(array, leaf.dtype), leaf.sharding)

  return jax.tree_util.tree_map_with_path(values, abstract)


def is_training(program: Program) -> bool:
  """Returns whether a program maps (state, ...) to (state, metrics)."""
  return program.name.endswith(" step")


def trace_program(program: Program, mesh: jax.sharding.Mesh) -> Traced:
  """Traces and lowers a program."""
  with HOST.tracing(), jax.set_mesh(mesh):
    started = time.perf_counter()
    lowered = program.function.lower(*program.arguments)
    seconds = time.perf_counter() - started
    return Traced(lowered, seconds, hardware.program_flops(lowered))


def compile_program(traced: Traced, mesh: jax.sharding.Mesh) -> Compiled:
  """Compiles a program."""
  with jax.set_mesh(mesh):
    started = time.perf_counter()
    call = traced.lowered.compile()
    return Compiled(call, time.perf_counter() - started)


def time_program(
  program: Program,
  traced: Traced,
  compiled: Compiled,
  precision: str,
  mesh: jax.sharding.Mesh,
  num_calls: int,
  timed_beside: str = "",
) -> ProgramTimes:
  """Measures warm calls: `num_calls`, fewer if they take more than two seconds.

  A training step gets the state that the step before returned.
  """
  with HOST.timing(), jax.set_mesh(mesh):
    arguments = fill(program.arguments)
    times, is_finite = [], True
    while len(times) <= num_calls:  # the first call warms up
      if len(times) > _MIN_CALLS and sum(times[1:]) > _MAX_SECONDS:
        break
      started = time.perf_counter()
      result = jax.block_until_ready(compiled.call(*arguments))
      times.append(time.perf_counter() - started)
      if is_training(program):
        state, metrics = result
        arguments = (state, *arguments[1:])
        is_finite &= bool(np.isfinite(metrics["loss"]))
  seconds = statistics.median(times[1:])
  chip = hardware.chip_of(mesh.devices.flat[0])
  known = chip is not None and traced.flops > 0
  return ProgramTimes(
    program=program.name,
    precision=precision,
    batch_size=program.batch_size,
    milliseconds=1e3 * seconds,
    num_calls=len(times) - 1,
    timed_beside=timed_beside,
    trace_seconds=traced.seconds,
    compile_seconds=compiled.seconds,
    compiled_beside="",
    cached_compile_seconds=None,
    memory_gib=peak_gib(compiled.call),
    gflop=traced.flops / 1e9,
    flop_utilisation=traced.flops / seconds / chip.bf16_flops if known else None,
    is_finite=is_finite,
  )


def peak_gib(compiled: jax.stages.Compiled) -> float | None:
  """Returns the memory that a program needs by XLA, arguments included.

  Backends that do not count a peak give an upper bound. None: it does not say.
  """
  memory = compiled.memory_analysis()
  if memory is None:
    return None
  parts = (
    memory.argument_size_in_bytes
    + memory.output_size_in_bytes
    - memory.alias_size_in_bytes
    + memory.temp_size_in_bytes
  )
  peak = memory.peak_memory_in_bytes
  if peak < memory.temp_size_in_bytes:  # a CPU's leaves them out
    peak = parts
  return float(peak) / 2**30


@contextlib.contextmanager
def empty_cache() -> Iterator[None]:
  """Keeps all compiled programs in an empty persistent cache for a while."""
  with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
    values = {
      "jax_compilation_cache_dir": folder,
      "jax_persistent_cache_min_compile_time_secs": 0.0,
      "jax_persistent_cache_min_entry_size_bytes": -1,
      # One folder of tuned kernels for programs that compile at once: left alone.
      "jax_persistent_cache_enable_xla_caches": "none",
    }
    before = {name: getattr(jax.config, name) for name in values}
    _update_config(values)
    try:
      yield
    finally:
      _update_config(before)


def _update_config(values: dict[str, Any]) -> None:
  for name, value in values.items():
    jax.config.update(name, value)
  # JAX opens the folder once per process; without this it keeps the first one.
  compilation_cache.reset_cache()
