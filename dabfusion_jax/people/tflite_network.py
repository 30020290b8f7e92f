"""Runs a network read from a tflite file, in NumPy or compiled by JAX.

The same few functions serve both. A network of a hundred small layers that is run once
takes NumPy a fraction of a second, and several seconds to compile; for the frames of a
dance compiling pays.
"""

import functools
import threading
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import threadpoolctl
from jaxtyping import Float, Float32

from dabfusion_jax.ops.resize import scaling_matrix
from dabfusion_jax.pretrained.tflite_reader import Graph, Operation

Array = Float[np.ndarray | jax.Array, "..."]


class _OneThread:
  """Lets NumPy's products run in one thread, in all that are inside at a time.

  Those of small layers gain nothing from several, which wait for each other in loops:
  where a core is busy otherwise, a network takes ten times as long.
  """

  def __init__(self):
    self._lock, self._inside, self._limit = threading.Lock(), 0, None

  def __enter__(self) -> None:
    with self._lock:
      if not self._inside:
        self._limit = _libraries().limit(limits=1, user_api="blas")
      self._inside += 1

  def __exit__(self, *error: object) -> None:
    with self._lock:
      self._inside -= 1
      if not self._inside:
        self._limit.restore_original_limits()


_ONE_THREAD = _OneThread()


@functools.cache
def _libraries() -> threadpoolctl.ThreadpoolController:
  return threadpoolctl.ThreadpoolController()


class TfliteNetwork:
  """A network of one input, as a function.

  Args:
    graph: the network.
    outputs: which of its outputs are wanted; what only others need is not computed.
    compiled: whether JAX compiles it, at once.
  """

  def __init__(self, graph: Graph, outputs: tuple[int, ...], compiled: bool = False):
    self._input = graph.inputs[0]
    self._outputs = tuple(graph.outputs[i] for i in outputs)
    self._integers, self._weights = {}, {}
    needed = set(self._outputs)
    operations = []
    for operation in reversed(graph.operations):
      if operation.outputs[0] in needed:
        operations.append(operation)
        needed |= set(operation.inputs)
    self._operations = []
    for operation in reversed(operations):
      if operation.name == "dequantize":  # weights are stored in half precision
        value = graph.constants[operation.inputs[0]].astype(np.float32)
        self._weights[operation.outputs[0]] = value
      else:
        self._operations.append(operation)
    for i in needed & set(graph.constants):
      if graph.constants[i].dtype == np.float32:
        self._weights[i] = graph.constants[i]
      elif graph.constants[i].dtype == np.int32:  # shapes
        self._integers[i] = graph.constants[i]
    self._shape = (1, *graph.shapes[self._input][1:])
    self._compiled = self._compile() if compiled else None

  def __call__(
    self, x: Float32[np.ndarray, "h w c"]
  ) -> tuple[Float32[np.ndarray, "..."], ...]:
    """Returns the wanted outputs, each without its batch axis."""
    if self._compiled is not None:
      outputs = self._compiled(self._weights, x[None])
    else:
      with _ONE_THREAD:
        outputs = self._run(self._weights, x[None], np)
    return tuple(np.asarray(value)[0] for value in outputs)

  def _run(self, weights: dict[int, Array], x: Array, xp: ModuleType):
    tensors = {self._input: x} | weights
    for operation in self._operations:
      inputs = [
        self._integers[i] if i in self._integers else tensors[i]
        for i in operation.inputs
        if i >= 0
      ]
      tensors[operation.outputs[0]] = _apply(operation, inputs, xp)
    return tuple(tensors[i] for i in self._outputs)

  def _compile(self) -> jax.stages.Compiled:
    run = functools.partial(self._run, xp=jnp)
    shape = jax.ShapeDtypeStruct(self._shape, jnp.float32)
    lowered = jax.jit(run).lower(self._weights, shape)
    # Compiles in two thirds of the time, and runs as fast.
    return lowered.compile(compiler_options={"xla_backend_optimization_level": 1})


def _apply(operation: Operation, inputs: list[Any], xp: ModuleType) -> Array:
  x = _OPERATIONS[operation.name](*inputs, operation.options, xp)
  activation = operation.options.get("activation")
  if activation:
    x = xp.clip(x, 0, 6 if activation == "relu6" else None)
  return x


def _row(values: Array) -> Array:
  return values.reshape(1, 1, 1, -1)


def _windows(x: Array, height: int, width: int, options: dict, xp: ModuleType):
  """Yields (i, j, the pixels under row i and column j) of a sliding kernel."""
  stride = options["stride"]
  if options["same"]:
    widths = []
    for size, length in zip(x.shape[1:3], (height, width), strict=True):
      total = max((-(-size // stride) - 1) * stride + length - size, 0)
      widths.append((total // 2, total - total // 2))
    x = xp.pad(x, ((0, 0), *widths, (0, 0)))
  end_y, end_x = x.shape[1] - height + 1, x.shape[2] - width + 1
  for i in range(height):
    for j in range(width):
      yield i, j, x[:, i : i + end_y : stride, j : j + end_x : stride]


def _conv(x: Array, kernel: Array, bias: Array, options: dict, xp: ModuleType) -> Array:
  total = _row(bias)
  for i, j, part in _windows(x, *kernel.shape[1:3], options, xp):
    total = total + part @ kernel[:, i, j].T
  return total


def _depthwise_conv(
  x: Array, kernel: Array, bias: Array, options: dict, xp: ModuleType
) -> Array:
  total = _row(bias)
  for i, j, part in _windows(x, *kernel.shape[1:3], options, xp):
    total = total + part * _row(kernel[0, i, j])
  return total


def _transpose_conv(
  x: Array, kernel: Array, bias: Array, options: dict, xp: ModuleType
) -> Array:
  """Enlarges by a kernel as large as its stride, so that no outputs overlap."""
  channels, size, _, _ = kernel.shape
  if size != options["stride"]:
    raise ValueError("the kernel of a transposed convolution is not its stride")
  _, height, width, _ = x.shape
  out = xp.einsum("bhwc,oijc->bhiwjo", x, kernel)
  return out.reshape(1, height * size, width * size, channels) + _row(bias)


def _depth_to_space(x: Array, options: dict, xp: ModuleType) -> Array:
  size = options["block"]
  _, height, width, channels = x.shape
  x = x.reshape(1, height, width, size, size, channels // size**2)
  return x.transpose(0, 1, 3, 2, 4, 5).reshape(1, height * size, width * size, -1)


def _resize_bilinear(x: Array, size: np.ndarray, options: dict, xp: ModuleType):
  if options["align_corners"] or not options["half_pixel"]:
    raise ValueError("only the edges of pictures are aligned here")
  rows, columns = (
    scaling_matrix(old, new, half_pixel=True)
    for old, new in zip(x.shape[1:3], size.tolist(), strict=True)
  )
  x = xp.einsum("ph,bhwc->bpwc", rows, x)
  return xp.einsum("qw,bpwc->bpqc", columns, x)


def _pool(x: Array, options: dict, reduce: Any) -> Array:
  size = options["window"]
  if options["stride"] != size:
    raise ValueError("only pools that do not overlap are known here")
  _, height, width, channels = x.shape
  blocks = x.reshape(1, height // size, size, width // size, size, channels)
  return reduce(blocks, axis=(2, 4))


def _sigmoid(x: Array, _: dict, xp: ModuleType) -> Array:
  return 1 / (1 + xp.exp(-xp.clip(x, -80, 80)))


def _pad(x: Array, widths: np.ndarray, _: dict, xp: ModuleType) -> Array:
  return xp.pad(x, [tuple(pair) for pair in widths.tolist()])


_OPERATIONS = {
  "add": lambda x, y, _, xp: x + y,
  "multiply": lambda x, y, _, xp: x * y,
  "concatenate": lambda *x: x[-1].concatenate(x[:-2], x[-2]["axis"]),
  "conv": _conv,
  "depth_to_space": _depth_to_space,
  "depthwise_conv": _depthwise_conv,
  "Convolution2DTransposeBias": _transpose_conv,
  "resize_bilinear": _resize_bilinear,
  "average_pool": lambda x, options, xp: _pool(x, options, xp.mean),
  "max_pool": lambda x, options, xp: _pool(x, options, xp.max),
  "pad": _pad,
  "reshape": lambda x, shape, _, xp: x.reshape(tuple(shape.tolist())),
  "sigmoid": _sigmoid,
  "relu": lambda x, _, xp: xp.clip(x, 0, None),
  "hard_swish": lambda x, _, xp: x * xp.clip(x + 3, 0, 6) / 6,
}
