"""The rows of the accelerator benchmark, beside `program_times.ProgramTimes`."""

import dataclasses

from benchmarks.kernel_times import KernelTimes


@dataclasses.dataclass(frozen=True)
class DanceTimes:
  """What a finished dance takes: noise, sampling, decoding, frames on the host."""

  batch_size: int
  num_steps: int
  precision: str
  seconds: float  # median, warm
  dance_seconds: float  # of the whole batch
  timed_beside: str


@dataclasses.dataclass(frozen=True)
class Difference:
  """How far a result is from the CPU's, relative to the largest value."""

  program: str
  value: float


@dataclasses.dataclass(frozen=True)
class Profile:
  """Tells what the parts of a training step take."""

  program: str
  precision: str
  batch_size: int
  num_calls: int
  milliseconds: float  # median of a call that was not recorded
  recorded_milliseconds: float  # mean of the recorded ones, which take longer
  seconds: float  # for all of the profile
  kernels: KernelTimes
  timed_beside: str
