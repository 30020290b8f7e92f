"""A generated video, and the files it is saved as."""

import pathlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from data_pipeline import files
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
  notes: tuple[str, ...] = ()  # what the user should know, one line each

  def save(self, path: str | pathlib.Path) -> list[pathlib.Path]:
    """Writes PATH (mp4), a contact sheet (png) and the settings (json) beside it."""
    path = pathlib.Path(path)
    sheet, side = path.with_suffix(".png"), path.with_suffix(".json")
    writer.write_video(path, self.frames, int(self.fps), self.audio, SAMPLE_RATE)
    writer.write_image(sheet, contact_sheet(self.frames))
    files.write_json(side, self.settings)
    return [path, sheet, side]


def contact_sheet(frames: np.ndarray, columns: int = 10) -> np.ndarray:
  """Returns all frames row by row: uint8 [t, h, w, 3] -> [rows h, columns w, 3]."""
  missing = -len(frames) % columns
  frames = np.concatenate([frames, np.zeros((missing, *frames.shape[1:]), np.uint8)])
  count, height, width, _ = frames.shape
  grid = frames.reshape(count // columns, columns, height, width, 3)
  return grid.swapaxes(1, 2).reshape(-1, columns * width, 3)
