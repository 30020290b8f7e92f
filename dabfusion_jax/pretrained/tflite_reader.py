"""Reads networks in TensorFlow Lite's format: a graph of operations and its arrays.

The format is a FlatBuffer whose schema TensorFlow publishes (`schema.fbs`); the numbers
of fields and codes below are those of that schema, version 3. Only the parts that the
registered networks use are read.
"""

import dataclasses
import struct
from typing import Any

import numpy as np

from data_pipeline.errors import UserError

_TYPES = {0: np.float32, 1: np.float16, 2: np.int32, 3: np.uint8, 4: np.int64}
_OPERATIONS = {
  0: "add",
  1: "average_pool",
  2: "concatenate",
  3: "conv",
  4: "depthwise_conv",
  5: "depth_to_space",
  6: "dequantize",
  14: "sigmoid",
  17: "max_pool",
  18: "multiply",
  19: "relu",
  22: "reshape",
  23: "resize_bilinear",
  32: "custom",
  34: "pad",
  117: "hard_swish",
  124: "densify",
}
_INDICES = {1: "i", 2: "H", 3: "B"}  # of sparse arrays
_ACTIVATIONS = {0: "", 1: "relu", 3: "relu6"}
_SAME = 0
# Operation -> its options: name -> (number of the field, type, default).
_WINDOW = {"same": (0, "b", _SAME), "stride": (2, "i", 0)}
_OPTIONS = {
  "add": {"activation": (0, "b", 0)},
  "multiply": {"activation": (0, "b", 0)},
  "conv": _WINDOW | {"activation": (3, "b", 0)},
  "depthwise_conv": _WINDOW | {"activation": (4, "b", 0)},
  "average_pool": _WINDOW | {"window": (4, "i", 0), "activation": (5, "b", 0)},
  "max_pool": _WINDOW | {"window": (4, "i", 0), "activation": (5, "b", 0)},
  "concatenate": {"axis": (0, "i", 0), "activation": (1, "b", 0)},
  "depth_to_space": {"block": (0, "i", 0)},
  "resize_bilinear": {"align_corners": (2, "b", 0), "half_pixel": (3, "b", 0)},
}


@dataclasses.dataclass(frozen=True)
class Operation:
  """One step of a graph.

  Attributes:
    name: which one, in the words of this module.
    inputs, outputs: numbers of tensors; an input of -1 is left out.
    options: of this operation, such as its stride.
  """

  name: str
  inputs: tuple[int, ...]
  outputs: tuple[int, ...]
  options: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Graph:
  """A network: operations in order, the shapes of its tensors, and its weights."""

  operations: tuple[Operation, ...]
  shapes: tuple[tuple[int, ...], ...]
  constants: dict[int, np.ndarray]
  inputs: tuple[int, ...]
  outputs: tuple[int, ...]


def read_tflite(content: bytes) -> Graph:
  """Reads a network.

  Raises:
    UserError: the file is damaged, or uses an operation that is not known here.
  """
  try:
    return _read_graph(content)
  except (struct.error, AttributeError, IndexError, KeyError, ValueError) as error:
    raise UserError(f"not a network of TensorFlow Lite ({error!r})") from None


def _read_graph(content: bytes) -> Graph:
  (start,) = struct.unpack_from("<I", content)
  model = _Table(content, start)
  codes = [
    (max(code.number(0, "b"), code.number(3, "i")), code.text(1))
    for code in model.tables(1)
  ]
  (subgraph,) = model.tables(2)
  buffers = model.tables(4)
  shapes, constants = [], {}
  for i, tensor in enumerate(subgraph.tables(0)):
    shapes.append(tuple(tensor.numbers(0, "i").tolist()))
    data = buffers[tensor.number(2, "I")].numbers(0, "B")
    if len(data):
      kind = _TYPES[tensor.number(1, "b")]
      values, sparsity = np.frombuffer(data, kind), tensor.table(6)
      if sparsity is not None:
        values = _dense(values, shapes[-1], sparsity)
      constants[i] = values.reshape(shapes[-1])
  operations = []
  for operator in subgraph.tables(3):
    code, custom = codes[operator.number(0, "I")]
    name = custom if _OPERATIONS[code] == "custom" else _OPERATIONS[code]
    options = _read_options(name, operator.table(4), operator.numbers(5, "B"))
    inputs, outputs = (tuple(operator.numbers(n, "i").tolist()) for n in (1, 2))
    if name == "densify":  # done above
      constants[outputs[0]] = constants[inputs[0]]
    else:
      operations.append(Operation(name, inputs, outputs, options))
  inputs, outputs = (tuple(subgraph.numbers(n, "i").tolist()) for n in (1, 2))
  return Graph(tuple(operations), tuple(shapes), constants, inputs, outputs)


def _dense(
  values: np.ndarray, shape: tuple[int, ...], sparsity: "_Table"
) -> np.ndarray:
  """Returns an array of which a file has the values that are not 0, row by row.

  A row lies along the last axis. Its values are those between two borders, and each
  has its place in the row.
  """
  *outer, last = sparsity.tables(2)
  if sparsity.numbers(1, "i").size or any(axis.number(0, "b") for axis in outer):
    raise ValueError("only rows of arrays may be sparse")
  borders, places = (
    last.table(field).numbers(0, _INDICES[last.number(field - 1, "B")])
    for field in (3, 5)
  )
  array = np.zeros((len(borders) - 1, shape[-1]), values.dtype)
  array[np.repeat(np.arange(len(array)), np.diff(borders)), places] = values
  return array


def _read_options(
  name: str, table: "_Table | None", custom: np.ndarray
) -> dict[str, Any]:
  if name == "Convolution2DTransposeBias":  # three integers: padding and both strides
    padding, _, stride = struct.unpack_from("<iii", custom.tobytes())
    return {"same": padding == 1, "stride": stride}
  options = {
    option: table.number(number, kind, default) if table else default
    for option, (number, kind, default) in _OPTIONS.get(name, {}).items()
  }
  if "same" in options:
    options["same"] = options["same"] == _SAME
  if "activation" in options:
    options["activation"] = _ACTIVATIONS[options["activation"]]
  return options


@dataclasses.dataclass(frozen=True)
class _Table:
  """A table of a FlatBuffer: fields are found through a table of offsets."""

  content: bytes
  start: int

  def _field(self, number: int) -> int:
    """Returns where a field begins, or 0 if it has its default."""
    (to_offsets,) = struct.unpack_from("<i", self.content, self.start)
    offsets = self.start - to_offsets
    (size,) = struct.unpack_from("<H", self.content, offsets)
    if 4 + 2 * number >= size:
      return 0
    (offset,) = struct.unpack_from("<H", self.content, offsets + 4 + 2 * number)
    return self.start + offset if offset else 0

  def _target(self, place: int) -> int:
    """Returns where the offset that stands at `place` points."""
    return place + struct.unpack_from("<I", self.content, place)[0]

  def number(self, number: int, kind: str, default: int = 0) -> int:
    """Returns a field that holds one number; `kind` as in `struct`."""
    place = self._field(number)
    return struct.unpack_from(f"<{kind}", self.content, place)[0] if place else default

  def table(self, number: int) -> "_Table | None":
    """Returns a field that holds a table."""
    place = self._field(number)
    return _Table(self.content, self._target(place)) if place else None

  def numbers(self, number: int, kind: str) -> np.ndarray:
    """Returns a field that holds numbers."""
    place = self._field(number)
    if not place:
      return np.zeros(0, kind)
    place = self._target(place)
    (count,) = struct.unpack_from("<I", self.content, place)
    return np.frombuffer(self.content, f"<{kind}", count, place + 4)

  def tables(self, number: int) -> list["_Table"]:
    """Returns a field that holds tables."""
    place = self._field(number)
    if not place:
      return []
    place = self._target(place)
    (count,) = struct.unpack_from("<I", self.content, place)
    places = range(place + 4, place + 4 + 4 * count, 4)
    return [_Table(self.content, self._target(at)) for at in places]

  def text(self, number: int) -> str:
    """Returns a field that holds text."""
    return self.numbers(number, "B").tobytes().decode()
