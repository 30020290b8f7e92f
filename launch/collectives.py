"""Collectives of a compiled program: how many, of which kind, how many bytes."""

import math
import re
from dataclasses import dataclass

KINDS = (
  "all-gather",
  "all-reduce",
  "reduce-scatter",
  "all-to-all",
  "collective-permute",
)
_BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2}
_BYTES |= {"f32": 4, "s32": 4, "u32": 4, "f64": 8, "s64": 8, "u64": 8}
_INSTRUCTION = re.compile(
  rf"= (\(.*?\)|\S+) ({'|'.join(KINDS)})(-start)?\((.*)", re.MULTILINE
)
_ARRAY = re.compile(r"([a-z]+\d*)\[([\d,]*)\]")


@dataclass(frozen=True)
class Collective:
  """One instruction; `size` is the size of its whole output on one device, in bytes."""

  kind: str
  size: int
  group: int  # devices that take part together

  @property
  def sent(self) -> float:
    """Bytes that each device sends in the ring form of the collective."""
    share = (self.group - 1) / self.group
    return {
      "all-gather": share,
      "all-reduce": 2 * share,
      "reduce-scatter": self.group - 1,  # of its small output
      "all-to-all": share,
      "collective-permute": 1,
    }[self.kind] * self.size


def find_collectives(program: str, num_devices: int) -> list[Collective]:
  """Returns all collectives in the text of a compiled program, each once.

  Asynchronous ones appear as `-start`, whose tuple holds operand and result.
  """
  found = []
  for shape, kind, start, rest in _INSTRUCTION.findall(program):
    sizes = [_size(*array) for array in _ARRAY.findall(shape)]
    if start and kind in ("all-gather", "collective-permute"):
      # (operands, results, ...): halves of equal length but for small flags.
      arrays = [size for size in sizes if size > 4]
      size = sum(arrays[len(arrays) // 2 :]) if len(arrays) > 1 else sum(arrays)
    else:
      size = sum(sizes)
    group = 2 if kind == "collective-permute" else _group(rest, num_devices)
    if group > 1:
      found.append(Collective(kind, size, group))
  return found


def summarise(found: list[Collective]) -> dict[str, tuple[int, int]]:
  """Returns (number, bytes) by kind."""
  return {
    kind: (len(of_kind), sum(c.size for c in of_kind))
    for kind in KINDS
    if (of_kind := [c for c in found if c.kind == kind])
  }


def _size(dtype: str, dims: str) -> int:
  return _BYTES.get(dtype, 0) * math.prod(int(d) for d in dims.split(",") if d)


def _group(attributes: str, num_devices: int) -> int:
  """Returns the size of a replica group, in any of the three notations."""
  if match := re.search(r"replica_groups=mesh\[(.*?)\] \{(.*?)\}", attributes):
    sizes = dict(re.findall(r"'(\w+)'=(\d+)", match[1]))
    used = re.findall(r"'(\w+)'", match[2])
    return math.prod(int(sizes[name]) for name in used)
  if match := re.search(r"replica_groups=\[(\d+),(\d+)\]", attributes):
    return int(match[2])
  if match := re.search(r"replica_groups=\{\{([\d,]*)\}", attributes):
    return len(match[1].split(","))
  return num_devices
