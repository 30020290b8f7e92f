"""A generated video, and the files it becomes."""

import json
import os
import pathlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL.Image

from data_pipeline.media import writer

SAMPLE_RATE = 44_100  # of the sound beside the picture


@dataclass(frozen=True)
class Dance:
  """A generated video with its music and every setting that made it."""

  frames: np.ndarray  # uint8 [t, h, w, 3]
  fps: float
  audio: np.ndarray  # float32 [s, 2] at SAMPLE_RATE
  flow: np.ndarray  # float32 [t, s, s, 2], the sampling grids
  settings: dict[str, Any]
  notes: tuple[str, ...] = ()  # what its maker should know, a line each

  def save(self, path: str | pathlib.Path) -> list[pathlib.Path]:
    """Writes PATH (mp4), a contact sheet (png) and the settings (json) beside it."""
    path = pathlib.Path(path)
    sheet, side = path.with_suffix(".png"), path.with_suffix(".json")
    writer.write_video(path, self.frames, int(self.fps), self.audio, SAMPLE_RATE)
    _replace(sheet, PIL.Image.fromarray(contact_sheet(self.frames)).save, "PNG")
    text = json.dumps(self.settings, indent=2) + "\n"
    _replace(side, lambda file, _: file.write(text.encode()), "")
    return [path, sheet, side]


def contact_sheet(frames: np.ndarray, columns: int = 10) -> np.ndarray:
  """All frames, row by row: uint8 [t, h, w, 3] -> [rows h, columns w, 3]."""
  missing = -len(frames) % columns
  frames = np.concatenate([frames, np.zeros((missing, *frames.shape[1:]), np.uint8)])
  count, height, width, _ = frames.shape
  grid = frames.reshape(count // columns, columns, height, width, 3)
  return grid.swapaxes(1, 2).reshape(-1, columns * width, 3)


def _replace(path: pathlib.Path, write: Callable, *args: Any) -> None:
  """Writes a file in one move."""
  temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
  try:
    with open(temporary, "wb") as file:
      write(file, *args)
    temporary.replace(path)
  finally:
    temporary.unlink(missing_ok=True)
