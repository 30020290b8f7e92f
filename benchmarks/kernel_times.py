"""Adds up the time of a step's kernels by part of the network."""

import collections
import dataclasses
import re
from collections.abc import Iterator, Sequence

from benchmarks.hlo_names import HloNames, Instruction
from benchmarks.kernel_events import Event, busy
from benchmarks.network_kinds import UNKNOWN, is_backward, kind_of

_NUM_LONGEST, _NUM_UNKNOWN = 25, 10


@dataclasses.dataclass(frozen=True)
class KindTime:
  """What one part of a network takes per step."""

  kind: str
  forward_milliseconds: float
  backward_milliseconds: float
  num_kernels: float
  share: float  # of all kernels' time


@dataclasses.dataclass(frozen=True)
class KernelTime:
  """What one kernel takes per step, all of its runs together."""

  name: str
  op_name: str
  milliseconds: float


@dataclasses.dataclass(frozen=True)
class KernelTimes:
  """What the kernels of a step take; all per step."""

  busy_milliseconds: float  # at least one kernel ran
  kernel_milliseconds: float  # sum over kernels; more than busy if some overlap
  num_kernels: float
  kinds: list[KindTime]  # the longest first
  longest: list[KernelTime]
  unknown: list[KernelTime]  # families of kernels without an operation
  guessed_milliseconds: float  # of kernels with an operation of their neighbours


@dataclasses.dataclass(frozen=True)
class _Kernel:
  event: Event
  name: str
  op_name: str
  is_guess: bool


def add_up(events: Sequence[Event], names: HloNames, num_calls: int) -> KernelTimes:
  """Returns what the kernels of `num_calls` steps, by time, take."""
  kernels = list(_own_kernels(events, names))
  scale = 1e-6 / num_calls  # of nanoseconds in all to milliseconds per step
  total = sum(kernel.event.duration for kernel in kernels) or 1.0
  kinds: dict[str, list[_Kernel]] = collections.defaultdict(list)
  longest: collections.Counter[tuple[str, str]] = collections.Counter()
  unknown: collections.Counter[tuple[str, str]] = collections.Counter()
  guessed = 0.0
  for kernel in kernels:
    kind, duration = kind_of(kernel.op_name), kernel.event.duration
    kinds[kind].append(kernel)
    longest[kernel.name, kernel.op_name] += duration
    guessed += duration * kernel.is_guess
    if kind == UNKNOWN:
      unknown[family(kernel.event.name), ""] += duration
  rows = [_kind_time(kind, of, scale, total) for kind, of in kinds.items()]
  return KernelTimes(
    busy([kernel.event for kernel in kernels]) * scale,
    total * scale,
    len(kernels) / num_calls,
    sorted(rows, key=lambda row: -row.share),
    [KernelTime(*key, x * scale) for key, x in longest.most_common(_NUM_LONGEST)],
    [KernelTime(*key, x * scale) for key, x in unknown.most_common(_NUM_UNKNOWN)],
    guessed * scale,
  )


def family(kernel: str) -> str:
  """Returns a kernel's name without template arguments and numbers at its end."""
  return re.sub(r"([_.]\d+)+$", "", re.split(r"[<(]", kernel)[0].strip())[:120]


def _kind_time(
  kind: str, kernels: Sequence[_Kernel], scale: float, total: float
) -> KindTime:
  back = sum(x.event.duration for x in kernels if is_backward(x.op_name))
  both = sum(x.event.duration for x in kernels)
  count = len(kernels) * scale * 1e6
  return KindTime(kind, (both - back) * scale, back * scale, count, both / total)


def _own_kernels(events: Sequence[Event], names: HloNames) -> Iterator[_Kernel]:
  """Yields the kernels of a program with their operations.

  Compilations beside it try kernels in streams of their own, where few if any have the
  name of one of the program: such lines are left out, unless all are such. Kernels of
  libraries inside of command buffers have neither an instruction nor its name; such a
  one counts to the first library call that follows the last known kernel of its stream.
  """
  found = [(event, names.find(event.hlo_op, event.name)) for event in events]
  known = [event for event, instruction in found if instruction is not None]
  counts = collections.Counter(event.line for event in known)
  lines = {event.line for event in known if event.hlo_op}
  lines |= {
    line for line, count in counts.items() if 10 * count >= max(counts.values())
  }
  last: dict[str, Instruction] = {}
  for event, instruction in found:
    if lines and event.line not in lines:
      continue
    if instruction is not None:
      if not instruction.is_container:
        last[event.line] = instruction
        yield _Kernel(
          event, instruction.name, instruction.op_name, instruction.is_guess
        )
      continue
    guess = None
    if event.line in last and not event.name.lower().startswith(("memcpy", "memset")):
      guess = names.next_library_call(last[event.line])
    yield _Kernel(event, event.name, guess.op_name if guess else "", guess is not None)
