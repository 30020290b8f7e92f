r"""Which form of attention is fastest at the sizes that it has in the paper's U-Net.

  python -m benchmarks.attention_forms --output=FILE [--smoke] [--seconds=60]

Softmax attention over time and linear attention over space of every level are timed in
bf16 with float32 weights, forward and with the gradient, warm, on one device: the plain
form and the candidates of `attention_candidates`, of which GPUs run "kernel". A
difference is the largest of the result and of all gradients from those of the plain
form in float32, relative to the largest value of each; the plain form's own is the
yardstick. What fails has a row that says why. The rows come first that tell most, and
what there was no time for is left out.
"""

import dataclasses
import math
import os
import pathlib
import queue
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.accelerator_tasks import difference
from benchmarks.attention_candidates import LINEAR, TEMPORAL, Form
from benchmarks.program_times import HOST, peak_gib
from dabfusion_jax.evaluation.reporting import markdown
from dabfusion_jax.ops.attention import AttentionWeights
from dabfusion_jax.parallel import hardware
from data_pipeline import cli, files

_FRAMES, _HEADS, _HEAD_DIM, _BATCH = 40, 8, 32, 8
_LEVELS = ((32, 64), (16, 128), (8, 256), (4, 512))  # cells, channels
_NUMBERS = 1_000_003  # drawn once, then repeated
_THREADS = 8  # that compile
_GROUP = 5  # calls that are queued together
_MIN_GROUPS, _MAX_SECONDS = 5, 0.4  # of the timed calls of a program
_LAST_WAIT = 15  # seconds for compilations that have begun
_HEAD = ["layer", "form", "forward ms", "with gradient ms", "GiB", "difference"]

PyTree = Any


@dataclasses.dataclass(frozen=True)
class Layer:
  """An attention layer at one size.

  Attributes:
    name: for people.
    forms: its candidates by name.
    shape: of the input, [b m s c].
    heads: their number and features.
    has_bias: whether there is one, and rotation.
  """

  name: str
  forms: dict[str, Form]
  shape: tuple[int, int, int, int]
  heads: tuple[int, int]
  has_bias: bool

  def shapes(self, dtype: str) -> PyTree:
    """Returns float32 parameters, the input in `dtype`, and the output's weights."""
    wide = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.float32)
    *_, positions, channels = self.shape
    params = {
      "gain": wide(channels),
      "qkv": wide(channels, 3, *self.heads),
      "out": wide(math.prod(self.heads), channels),
    }
    if self.has_bias:
      params["bias"] = wide(self.heads[0], positions, positions)
    x = jax.ShapeDtypeStruct(self.shape, dtype)
    return params, x, x

  def arguments(self, dtype: str) -> PyTree:
    """Returns normal numbers for `shapes`; logits have a variance of several."""
    rng = np.random.default_rng(0)
    numbers = rng.standard_normal(_NUMBERS, np.float32)

    def draw(a: jax.ShapeDtypeStruct) -> jax.Array:
      repeated = np.resize(np.roll(numbers, rng.integers(_NUMBERS)), a.shape)
      return jnp.asarray(repeated, a.dtype)

    params, *rest = jax.tree.map(draw, self.shapes(dtype))
    params["qkv"] *= 2 * self.shape[-1] ** -0.5
    params["out"] *= len(params["out"]) ** -0.5
    return params, *rest


def layers(is_smoke: bool) -> Iterator[Layer]:
  """Yields the layers of the U-Net, of which least is known first; or tiny ones."""
  levels = dict(_LEVELS)
  frames, heads, batch = _FRAMES, (_HEADS, _HEAD_DIM), _BATCH
  if is_smoke:
    levels, frames, heads, batch = {4: 16}, 5, (2, 8), 2
  largest, *others = levels
  order = [("linear", largest), *(("temporal", cells) for cells in others)]
  order += [*(("linear", cells) for cells in others), ("temporal", largest)]
  for kind, cells in order:
    pixels, channels = cells * cells, levels[cells]
    sizes = (pixels, frames) if kind == "temporal" else (frames, pixels)
    forms = TEMPORAL if kind == "temporal" else LINEAR
    shape = batch, *sizes, channels
    yield Layer(f"{kind}, {cells} cells", forms, shape, heads, kind == "temporal")


def forward_of(form: Form) -> Callable:
  """Returns a function of float32 parameters and the input, as a layer calls a form."""

  def forward(params, x):
    params = dict(params)
    bias = [params.pop("bias")] if "bias" in params else []
    weights = AttentionWeights(
      params["gain"], params["qkv"].astype(x.dtype), params["out"].astype(x.dtype)
    )
    return form(x, weights, *bias)

  return forward


def gradient_of(form: Form) -> Callable:
  """Returns a function that gives the result and all gradients."""
  forward = forward_of(form)

  def gradient(params, x, weight):
    y, pull = jax.vjp(forward, params, x)
    return y, pull(weight)

  return gradient


def _wide(tree: PyTree) -> PyTree:
  return jax.tree.map(lambda a: a.astype(jnp.float32), tree)


def median_ms(call: Callable, arguments: tuple) -> float:
  """Returns the milliseconds of a warm call."""
  jax.block_until_ready(call(*arguments))
  times: list[float] = []
  while len(times) < _MIN_GROUPS or sum(times) < _MAX_SECONDS:
    started = time.perf_counter()
    for _ in range(_GROUP):
      result = call(*arguments)
    jax.block_until_ready(result)
    times.append(time.perf_counter() - started)
  return 1e3 * statistics.median(times) / _GROUP


class Trial:
  """Compiles forms in threads and times them one by one."""

  def __init__(self, seconds: float, output: pathlib.Path):
    self._end, self._output = time.monotonic() + seconds, output
    self._compiled: queue.Queue = queue.Queue()
    self._prepared: dict[str, tuple[PyTree, PyTree]] = {}
    self.rows: list[dict[str, Any]] = []

  def run(self, tasks: Sequence[tuple[Layer, str]]) -> bool:
    """Measures all, in this order as far as compilation allows.

    Returns:
      Whether compilations still run.
    """
    print(markdown.table(_HEAD, []), end="", flush=True)
    waiting = iter(tasks)  # its lock is Python's
    workers = [
      threading.Thread(target=self._compile, args=(waiting,), daemon=True)
      for _ in range(_THREADS)
    ]
    for worker in workers:
      worker.start()
    for _ in tasks:
      try:
        left = max(0.0, self._end - time.monotonic())
        layer, name, calls, error = self._compiled.get(timeout=left)
      except queue.Empty:
        break
      if not left:
        break
      self._add(layer, name, self._measure(layer, calls) if calls else failed(error))
    for worker in workers:
      worker.join(_LAST_WAIT / _THREADS)
    return any(worker.is_alive() for worker in workers)

  def _compile(self, waiting: Iterator[tuple[Layer, str]]) -> None:
    for layer, name in waiting:
      if time.monotonic() > self._end:
        return
      try:
        with HOST.tracing():
          abstract, form = layer.shapes("bfloat16"), layer.forms[name]
          lowered = [
            jax.jit(forward_of(form)).lower(*abstract[:2]),
            jax.jit(gradient_of(form)).lower(*abstract),
          ]
        self._compiled.put((layer, name, [a.compile() for a in lowered], None))
      except Exception as error:  # of any kind: the others go on
        self._compiled.put((layer, name, None, error))

  def _measure(self, layer: Layer, calls: Sequence[Callable]) -> dict[str, Any]:
    try:
      with HOST.timing():
        arguments, expected = self._prepare(layer)
        forward, gradient = calls
        error = difference(_wide(gradient(*arguments)), expected)
        return {
          "forward_ms": median_ms(forward, arguments[:2]),
          "gradient_ms": median_ms(gradient, arguments),
          "gib": peak_gib(gradient),
          "difference": error,
        }
    except Exception as error:  # of any kind: the others go on
      return failed(error)

  def _prepare(self, layer: Layer) -> tuple[PyTree, PyTree]:
    """Returns a layer's arguments, and the plain form's results in float32."""
    if layer.name not in self._prepared:
      arguments = layer.arguments("bfloat16")
      wide = _wide(arguments)
      with jax.default_matmul_precision("highest"):
        expected = jax.jit(gradient_of(layer.forms["plain"]))(*wide)
      self._prepared[layer.name] = arguments, jax.block_until_ready(expected)
    return self._prepared[layer.name]

  def _add(self, layer: Layer, name: str, row: dict[str, Any]) -> None:
    self.rows.append({"layer": layer.name, "form": name, **row})
    print("| " + " | ".join(cells_of(self.rows[-1])) + " |", flush=True)
    device = jax.devices()[0].device_kind
    content = {"device": device, "jax": jax.__version__, "rows": self.rows}
    files.write_json(self._output, content)


def failed(error: Exception) -> dict[str, Any]:
  """Returns the row of a form that cannot be measured."""
  return {"failed": f"{type(error).__name__}: {cli.one_line(error)}"[:200]}


def cells_of(row: dict[str, Any]) -> list[str]:
  """Returns what the row of a table shows."""
  names = [row["layer"], row["form"]]
  if "failed" in row:
    return [*names, f"failed: {row['failed']}".replace("|", "/"), "", "", ""]
  gib = "" if row["gib"] is None else f"{row['gib']:.2f}"
  times = (f"{row[key]:.3f}" for key in ("forward_ms", "gradient_ms"))
  return [*names, *times, gib, f"{row['difference']:.1e}"]


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the trial."""
  parser = cli.make_parser("benchmarks.attention_forms", __doc__)
  add = parser.add_argument
  add("--output", type=cli.local_path, required=True, help="the JSON")
  add("--smoke", action="store_true", help="tiny layers")
  add("--seconds", type=cli.positive_float, default=60.0, help="when to stop")
  with cli.one_line_errors("attention_forms"):
    args = parser.parse_args(argv)
    hardware.use_cpu_cores()
    hardware.check_backend()
    files.check_writable(args.output, is_folder=False)
    tasks = [(layer, name) for layer in layers(args.smoke) for name in layer.forms]
    if Trial(args.seconds, args.output).run(tasks):
      sys.stdout.flush()
      sys.stderr.flush()
      # Compilations cannot be interrupted, and abort an interpreter that shuts down.
      os._exit(0)


if __name__ == "__main__":
  main()
