"""The kernels that `jax.profiler` recorded, read from the file that it writes."""

import dataclasses
import pathlib
import warnings
from collections.abc import Iterator, Sequence

import jax


@dataclasses.dataclass(frozen=True)
class Event:
  """One run of a kernel: on a GPU in a stream, on a CPU in a thread."""

  name: str
  hlo_op: str  # "": the profile does not say
  line: str
  start: float  # nanoseconds
  duration: float


def read_events(folder: pathlib.Path, platform: str) -> list[Event]:
  """Returns the kernels of the profile in a folder, by time.

  Those of the first device with any; for the platform "cpu", what threads of the host
  ran as instructions of a program.

  Raises:
    RuntimeError: there is no profile, or no kernel in it.
  """
  files = sorted(folder.rglob("*.xplane.pb"))
  if not files:
    raise RuntimeError("the profiler wrote no file")
  planes = list(jax.profiler.ProfileData.from_file(str(files[-1])).planes)
  with warnings.catch_warnings():
    # jaxlib 0.11.2 warns of a type of its own, and aborts where warnings are errors.
    warnings.simplefilter("ignore", DeprecationWarning)
    found = _of_planes(planes, platform)
  if not found:
    names = ", ".join(plane.name for plane in planes)
    raise RuntimeError(f"the profile has no kernels, only the planes {names}")
  return sorted(found, key=lambda event: event.start)


def busy(events: Sequence[Event]) -> float:
  """Returns the nanoseconds in which at least one of the events, by time, ran."""
  total, end = 0.0, float("-inf")
  for event in events:
    stop = event.start + event.duration
    total += max(0.0, stop - max(end, event.start))
    end = max(end, stop)
  return total


def _of_planes(planes: Sequence, platform: str) -> list[Event]:
  if platform == "cpu":
    hosts = [plane for plane in planes if plane.name == "/host:CPU"]
    return [x for plane in hosts for x in _of_plane(plane, False) if x.hlo_op]
  devices = [plane for plane in planes if plane.name.startswith("/device:")]
  for plane in sorted(devices, key=lambda plane: plane.name):
    if found := list(_of_plane(plane, is_device=True)):
      return found
  return []


def _of_plane(plane, is_device: bool) -> Iterator[Event]:
  lines = list(plane.lines)
  if is_device:
    # Other lines of a device repeat its kernels, by module or by name scope.
    streams = [line for line in lines if line.name.startswith("Stream")]
    lines = streams or [line for line in lines if line.name == "XLA Ops"]
  for line in lines:
    for event in line.events:
      hlo_op = next((str(v) for k, v in event.stats if k == "hlo_op"), "")
      yield Event(event.name, hlo_op, line.name, event.start_ns, event.duration_ns)
