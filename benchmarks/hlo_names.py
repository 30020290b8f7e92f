"""The instructions of a compiled program, as its HLO text names them."""

import collections
import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence

from benchmarks.network_kinds import is_backward

# Their events span those of the instructions inside.
_CONTAINERS = frozenset({"call", "conditional", "while", "async-start", "async-done"})
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = (.*)$")
_OPCODE = re.compile(r"(?:^|\s)([a-z][\w\-]*)\(")
_OP_NAME = re.compile(r'op_name="((?:[^"\\]|\\.)*)"')
_CALLS = re.compile(r"calls=%?([\w.\-]+)")
_REFERENCE = re.compile(r"%([\w.\-]+)")
_PASSES = 3  # over instructions whose neighbours have no operation either


@dataclasses.dataclass(frozen=True)
class Instruction:
  """One instruction, and the operation of the traced function that it comes from."""

  name: str
  opcode: str
  op_name: str  # "": not known
  is_root: bool
  computation: str
  calls: str  # computation of a fusion; "": none
  operands: tuple[str, ...]  # and computations that it runs
  is_guess: bool = False  # `op_name` is a neighbour's

  @property
  def is_container(self) -> bool:
    """Whether it runs other instructions, each with kernels of its own."""
    return self.opcode in _CONTAINERS


class HloNames:
  """Finds instructions by the names that profiles have for them.

  A fusion without an operation has that of its computation's root, or else the most
  frequent one in it. Anything else without one, such as what XLA rewrote or copies to
  another layout, has that of a neighbour.
  """

  def __init__(self, text: str):
    bodies: dict[str, list[Instruction]] = collections.defaultdict(list)
    for instruction in _parse(text):
      bodies[instruction.computation].append(instruction)
    self._by_name: dict[str, Instruction] = {}
    self._by_kernel: dict[str, Instruction] = {}
    self._next_library_call: dict[str, Instruction] = {}
    fused = {x.calls for body in bodies.values() for x in body if x.calls}
    for computation, body in bodies.items():
      if computation not in fused:
        self._add(_with_guesses([_with_op_name(x, bodies) for x in body]))
    for instruction in self._by_name.values():
      self._by_kernel[kernel_name(instruction.name)] = instruction
    for instruction in self._by_name.values():
      if instruction.calls:
        self._by_kernel.setdefault(kernel_name(instruction.calls), instruction)

  def _add(self, body: Sequence[Instruction]) -> None:
    following = None
    for instruction in reversed(body):
      self._by_name[instruction.name] = instruction
      if following is not None:
        self._next_library_call[instruction.name] = following
      if instruction.opcode == "custom-call":
        following = instruction

  def find(self, hlo_op: str, kernel: str) -> Instruction | None:
    """Returns the instruction of a profile's `hlo_op`, else of a kernel's name.

    Command buffers have one `hlo_op` for all of their kernels: it says nothing.
    """
    instruction = self._by_name.get(hlo_op.removeprefix("%"))
    if instruction is not None and (
      not instruction.is_container or kernel == instruction.name
    ):
      return instruction
    return self._by_name.get(kernel) or self._by_kernel.get(kernel)

  def next_library_call(self, instruction: Instruction) -> Instruction | None:
    """Returns the first custom call after an instruction, in its computation."""
    return self._next_library_call.get(instruction.name)


def kernel_name(name: str) -> str:
  """Returns the name of a kernel that XLA generates for an instruction."""
  return re.sub(r"[.\-]", "_", name)


def _parse(text: str) -> Iterator[Instruction]:
  computation = ""
  for line in text.splitlines():
    if header := _COMPUTATION.match(line):
      computation = header[1]
    elif found := _INSTRUCTION.match(line):
      root, name, rest = found.groups()
      # Attributes may hold anything, also what looks like an opcode.
      opcode, op_name, calls = (p.search(rest) for p in (_OPCODE, _OP_NAME, _CALLS))
      if opcode is not None:
        yield Instruction(
          name,
          opcode[1],
          op_name[1] if op_name else "",
          root is not None,
          computation,
          calls[1] if calls else "",
          tuple(_REFERENCE.findall(rest.split(", metadata=")[0])),
        )


def _with_op_name(
  instruction: Instruction, bodies: Mapping[str, Sequence[Instruction]]
) -> Instruction:
  """Returns an instruction with an operation of its fusion, if it has none itself."""
  if instruction.op_name:
    return instruction
  body = bodies.get(instruction.calls, ())
  # Names of parameters and of reducers are no path.
  inside = [x for x in body if "/" in x.op_name]
  names = [x.op_name for x in inside if x.is_root]
  names += [
    name for name, _ in collections.Counter(x.op_name for x in inside).most_common(1)
  ]
  return dataclasses.replace(instruction, op_name=names[0]) if names else instruction


def _with_guesses(body: list[Instruction]) -> list[Instruction]:
  """Returns a computation with operations of neighbours for what has none."""
  users = collections.defaultdict(list)
  for instruction in body:
    for name in instruction.operands:
      users[name].append(instruction.name)
  for i in range(_PASSES + 1):
    # A gradient's convolution is not the optimizer's, though that alone may use it: in
    # the last pass only is any neighbour good enough.
    word = "jvp(" if i < _PASSES else "/"
    known = {x.name: x.op_name for x in body if word in x.op_name}

    def guessed(x: Instruction, known: Mapping[str, str] = known) -> Instruction:
      if x.op_name or x.opcode == "parameter":
        return x
      before = [known[name] for name in x.operands if name in known]
      after = [known[name] for name in users[x.name] if name in known]
      # What reads gradients is of the backward pass. What only the backward pass uses
      # is, too; what both use was there before.
      names = (
        [name for name in before if is_backward(name)]
        + [name for name in after if "jvp(" in name and not is_backward(name)]
        + [name for name in after if is_backward(name)]
        + [name for name in before if "jvp(" in name]
        + after
        + before
      )
      if not names:
        return x
      return dataclasses.replace(x, op_name=names[0], is_guess=True)

    body = [guessed(x) for x in body]
  return body
