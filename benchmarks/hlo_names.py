"""The instructions of a compiled program, as its HLO text names them."""

import collections
import dataclasses
import re
from collections.abc import Iterator

# Their events span those of the instructions inside.
_CONTAINERS = frozenset({"call", "conditional", "while", "async-start", "async-done"})
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = (.*)$")
_OPCODE = re.compile(r"(?:^|\s)([a-z][\w\-]*)\(")
_OP_NAME = re.compile(r'op_name="((?:[^"\\]|\\.)*)"')
_CALLS = re.compile(r"calls=%?([\w.\-]+)")


@dataclasses.dataclass(frozen=True)
class Instruction:
  """One instruction, and the operation of the traced function that it comes from."""

  name: str
  opcode: str
  op_name: str  # "": not known
  is_root: bool
  computation: str
  calls: str  # computation of a fusion; "": none

  @property
  def is_container(self) -> bool:
    """Whether it runs other instructions, each with kernels of its own."""
    return self.opcode in _CONTAINERS


class HloNames:
  """Finds instructions by the names that profiles have for them.

  A fusion without an operation has that of its computation's root, or else the most
  frequent one in it.
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
      if computation in fused:
        continue
      following = None
      for instruction in reversed(body):
        if not instruction.op_name:
          op_name = _op_name_of(bodies.get(instruction.calls, []))
          instruction = dataclasses.replace(instruction, op_name=op_name)
        self._by_name[instruction.name] = instruction
        if following is not None:
          self._next_library_call[instruction.name] = following
        if instruction.opcode == "custom-call":
          following = instruction
    for instruction in self._by_name.values():
      self._by_kernel[kernel_name(instruction.name)] = instruction
    for instruction in self._by_name.values():
      if instruction.calls:
        self._by_kernel.setdefault(kernel_name(instruction.calls), instruction)

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
        )


def _op_name_of(body: list[Instruction]) -> str:
  for instruction in body:
    if instruction.is_root and instruction.op_name:
      return instruction.op_name
  # Names of parameters and of reducers are no path.
  names = collections.Counter(x.op_name for x in body if "/" in x.op_name)
  return names.most_common(1)[0][0] if names else ""
