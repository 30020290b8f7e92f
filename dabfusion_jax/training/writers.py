"""Where a run writes what it measures: event files, JSON lines, pictures, log.

The only importer of clu, whose writers import tensorflow through one module. A small
class on tensorboardX takes that module's place, so tensorflow is never needed.
"""

import contextlib
import dataclasses
import json
import math
import os
import pathlib
import sys
import time
import types
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from absl import logging
from PIL import Image
from tensorboardX import event_file_writer, summary
from tensorboardX.proto import event_pb2

from dabfusion_jax.parallel import hardware
from data_pipeline import files


class EventFile:
  """TensorBoard event file in clu's writer interface, as far as it is used here.

  It writes in the caller's thread: the library's own thread would swallow a full
  disk and then block the training for ever.
  """

  def __init__(self, folder: str, first_step: int = 0):
    """Opens a new file; earlier files' events from `first_step` on are hidden."""
    os.makedirs(folder, exist_ok=True)
    self._file = event_file_writer.EventsWriter(
      os.path.join(folder, "events"), filename_suffix=f".{first_step}"
    )
    start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
    self._write(first_step, session_log=start)

  def _write(self, step: int, **content):
    event = event_pb2.Event(wall_time=time.time(), step=step, **content)
    self._file.write_event(event)

  def write_scalars(self, step, scalars):
    for name, value in scalars.items():
      self._write(step, summary=summary.scalar(name, value))

  def write_images(self, step, images):
    for name, image in images.items():
      self._write(step, summary=summary.image(name, image, dataformats="HWC"))

  def flush(self):
    self._file.flush()

  def close(self):
    self._file.close()


_CLU_MODULE = "clu.metric_writers.summary_writer"
_stand_in = types.ModuleType(_CLU_MODULE)
_stand_in.SummaryWriter = EventFile
sys.modules[_CLU_MODULE] = _stand_in

from clu import metric_writers, parameter_overview  # noqa: E402


class Writer:
  """Writes a run's scalars and pictures under its workdir, as one straight history.

  WORKDIR/metrics.jsonl holds one object a line, {"step": ..., name: value}, with null
  for what is not finite. Lines beyond the step a run resumes from are dropped.
  """

  def __init__(self, workdir: str | pathlib.Path, step: int):
    """Opens the files of `workdir` for a run that stands at `step`."""
    self._workdir = pathlib.Path(workdir)
    self._workdir.mkdir(parents=True, exist_ok=True)
    path = self._workdir / "metrics.jsonl"
    drop_lines_after(path, step)
    self._lines = path.open("a", encoding="utf-8")
    self._writers = metric_writers.MultiWriter(
      [
        metric_writers.LoggingWriter(),
        EventFile(os.fspath(self._workdir / "events"), first_step=step + 1),
      ]
    )

  def __enter__(self):
    return self

  def __exit__(self, *unused):
    self._lines.close()
    self._writers.close()

  def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
    """Writes and flushes; what is written survives the process."""
    values = {k: float(v) if math.isfinite(v) else None for k, v in scalars.items()}
    self._lines.write(json.dumps({"step": step, **values}) + "\n")
    self._lines.flush()
    self._writers.write_scalars(step, scalars)
    self._writers.flush()

  def settle(self) -> None:
    """Puts metrics.jsonl where a lost machine cannot take it along.

    A mounted bucket takes a file when it is closed, not before.
    """
    self._lines.close()
    self._lines = open(self._lines.name, "a", encoding="utf-8")

  def write_pictures(self, step: int, pictures: Mapping[str, np.ndarray]) -> None:
    """Writes uint8 [H, W, 3] as summaries and as pictures/NAME_STEP.png.

    Raises:
      ValueError: another shape or type.
    """
    folder = self._workdir / "pictures"
    folder.mkdir(exist_ok=True)
    for name, picture in pictures.items():
      if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[-1] != 3:
        raise ValueError(
          f"picture {name!r} must be uint8 [H, W, 3], got {picture.dtype} "
          f"{picture.shape}."
        )
      Image.fromarray(picture).save(folder / f"{name}_{step:07d}.png")
    self._writers.write_images(step, pictures)
    self._writers.flush()


class NullWriter:
  """Stands in for `Writer` in all processes but the first."""

  def __enter__(self):
    return self

  def __exit__(self, *unused):
    pass

  def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
    pass

  def settle(self) -> None:
    pass

  def write_pictures(self, step: int, pictures: Mapping[str, np.ndarray]) -> None:
    pass


def drop_lines_after(path: pathlib.Path, step: int) -> None:
  """Keeps a metrics file's lines up to `step`; a torn last line goes as well."""
  if not path.exists():
    return
  kept = []
  for line in path.read_text().splitlines():
    try:
      if json.loads(line)["step"] <= step:
        kept.append(line + "\n")
    except ValueError:  # the process was killed while writing it
      continue
  files.write_text(path, "".join(kept))


# What `Progress` measures: it depends on the machine, not on what is learnt.
SPEED = (
  "steps_per_second",
  "examples_per_second",
  "examples_per_second_per_device",
  "data_wait_share",
  "flop_utilisation",
  "device_memory_gib",
  "host_memory_gib",
)


class Progress:
  """Speed since the last report, what limits it, and the time left."""

  def __init__(self, num_steps: int, batch_size: int, flops: float = 0.0):
    """`batch_size` is global; `flops` those of one step on one device, 0 if unknown."""
    self._num_steps = num_steps
    self._batch_size = batch_size
    self._flops = flops
    self._since: tuple[int, float] | None = None
    self._waited = 0.0

  def start(self, step: int) -> None:
    """Starts the clock, once: after the first step, which warms up."""
    if self._since is None:
      self._since, self._waited = (step, time.monotonic()), 0.0

  @contextlib.contextmanager
  def waiting(self):
    """Around what waits for data."""
    started = time.monotonic()
    yield
    self._waited += time.monotonic() - started

  def report(self, step: int) -> dict[str, float]:
    """Logs one line; returns what is known of `SPEED`.

    flop_utilisation = FLOPs of the compiled step on one device x steps per second
    / published bf16 peak of the device. Only for devices in `hardware.CHIPS`.
    """
    self.start(step)
    since, started = self._since
    now = time.monotonic()
    if step == since or now == started:
      logging.info("step %d/%d", step, self._num_steps)
      return {}
    speed = (step - since) / (now - started)
    found = {
      "steps_per_second": speed,
      "examples_per_second": speed * self._batch_size,
      "examples_per_second_per_device": speed * self._batch_size / jax.device_count(),
      "data_wait_share": self._waited / (now - started),
    }
    chip = hardware.chip_of(jax.local_devices()[0])
    used = ""
    if chip is not None and self._flops:
      found["flop_utilisation"] = self._flops * speed / chip.bf16_flops
      used = (
        f", {100 * found['flop_utilisation']:.1f} % of peak ({self._flops:.4g} FLOP x"
        f" {speed:.3g} /s / {chip.bf16_flops:.4g} FLOP/s)"
      )
    name, found_memory = hardware.peak_memory()
    found[name] = found_memory
    self._since, self._waited = (step, now), 0.0
    logging.info(
      "step %d/%d (%.1f %%), %.3g steps/s, %.3g examples/s, data wait %.0f %%,"
      " %.2f GiB%s, %s left",
      step,
      self._num_steps,
      100 * step / self._num_steps,
      speed,
      speed * self._batch_size,
      100 * found["data_wait_share"],
      found_memory,
      used,
      format_duration((self._num_steps - step) / speed),
    )
    return found


@dataclasses.dataclass(frozen=True)
class Trace:
  """Which steps of a run to record for XProf, in WORKDIR/profile."""

  skip: int  # steps of this run before it; the first ones are not like the others
  num_steps: int  # 0: none

  @contextlib.contextmanager
  def step(self, workdir: pathlib.Path, number: int, step: int):
    """Around a step: the `number`th of this run, from 1, called `step` in the trace."""
    if number == self.skip + 1 and self.num_steps:
      jax.profiler.start_trace(os.fspath(workdir / "profile"))
    if not self.skip < number <= self.skip + self.num_steps:
      yield
      return
    with jax.profiler.StepTraceAnnotation("train", step_num=step):
      yield
    if number == self.skip + self.num_steps:
      jax.effects_barrier()
      jax.profiler.stop_trace()
      logging.info("Trace of %d steps in %s.", self.num_steps, workdir / "profile")


NO_TRACE = Trace(skip=0, num_steps=0)


def format_duration(seconds: float) -> str:
  """'2d03h', '3h05m', '4m09s' or '7s'."""
  seconds = round(seconds)
  for size, unit, part_size, part in (
    (86400, "d", 3600, "h"),
    (3600, "h", 60, "m"),
    (60, "m", 1, "s"),
  ):
    if seconds >= size:
      return f"{seconds // size}{unit}{seconds % size // part_size:02d}{part}"
  return f"{seconds}s"


def log_parameter_overview(params: Any) -> None:
  """Logs names, shapes and sizes of all parameters, and their sum."""
  parameter_overview.log_parameter_overview(params, include_stats=False)
