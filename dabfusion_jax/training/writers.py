"""Where a run writes what it measures: event files, JSON lines, pictures, log.

The only importer of clu, of which the overview of parameters is used: its writers
import tensorflow. Event files are written by tensorboardX.
"""

import json
import math
import os
import pathlib
import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from absl import logging
from clu import parameter_overview
from PIL import Image
from tensorboardX import event_file_writer, summary
from tensorboardX.proto import event_pb2

from data_pipeline import files


class EventFile:
  """A TensorBoard event file, written in the caller's thread.

  The library's own thread would swallow the error of a full disk, and then block the
  training for ever.
  """

  def __init__(self, folder: str, first_step: int = 0):
    """Opens a new file; TensorBoard hides earlier events from `first_step` on."""
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


class Writer:
  """Writes the scalars and pictures of a run under its workdir, as one history.

  WORKDIR/metrics.jsonl holds one object a line, {"step": ..., name: value}, with null
  for values that are not finite. Lines beyond the step a run resumes from are dropped.
  """

  def __init__(self, workdir: str | pathlib.Path, step: int):
    """Opens the files of `workdir` for a run that continues after `step`."""
    self._workdir = pathlib.Path(workdir)
    self._workdir.mkdir(parents=True, exist_ok=True)
    path = self._workdir / "metrics.jsonl"
    drop_lines_after(path, step)
    self._lines = path.open("a", encoding="utf-8")
    self._events = EventFile(os.fspath(self._workdir / "events"), first_step=step + 1)

  def __enter__(self):
    return self

  def __exit__(self, *unused):
    # What a full disk refused once is tried again here.
    with files.full_disk_names(self._lines.name):
      try:
        self._lines.close()
      finally:
        self._events.close()

  def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
    """Logs, writes and flushes; what is written survives the process."""
    values = {k: float(v) if math.isfinite(v) else None for k, v in scalars.items()}
    with files.full_disk_names(self._lines.name):
      self._lines.write(json.dumps({"step": step, **values}) + "\n")
      self._lines.flush()
      self._events.write_scalars(step, scalars)
      self._events.flush()
    line = ", ".join(f"{name}={value:.6g}" for name, value in sorted(scalars.items()))
    logging.info("[%d] %s", step, line)

  def settle(self) -> None:
    """Closes and reopens metrics.jsonl, so that it survives the loss of the machine.

    A mounted bucket stores a file when it is closed, not before.
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
      with files.whole_file(folder / f"{name}_{step:07d}.png") as file:
        Image.fromarray(picture).save(file)
    with files.full_disk_names(self._workdir / "events"):
      self._events.write_images(step, pictures)
      self._events.flush()


class NullWriter:
  """Replaces `Writer` in all processes but the first: writes nothing."""

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


def open_writer(workdir: pathlib.Path, step: int) -> Writer | NullWriter:
  """Returns the `Writer` of a run in process 0, and a `NullWriter` in the others."""
  return Writer(workdir, step) if jax.process_index() == 0 else NullWriter()


def drop_lines_after(path: pathlib.Path, step: int) -> None:
  """Removes the lines after `step` from a metrics file, and those that are damaged."""
  if not path.exists():
    return
  kept = []
  for line in path.read_bytes().splitlines():
    try:
      text = line.decode()
      if json.loads(text)["step"] <= step:
        kept.append(text + "\n")
    except (ValueError, KeyError, TypeError):  # a process was killed while writing it
      continue
  files.write_text(path, "".join(kept))


def log_parameter_overview(params: Any) -> None:
  """Logs names, shapes and sizes of all parameters, and their sum."""
  parameter_overview.log_parameter_overview(params, include_stats=False)
