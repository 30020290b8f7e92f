"""A generated video, and the files it is saved as."""

import pathlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from data_pipeline import files
from data_pipeline.media import writer

SAMPLE_RATE = 44_100  # of the sound beside the picture


@dataclass(frozen=True)
class Dance:
  """A generated video with its music and every setting that made it."""

  frames: UInt8[np.ndarray, "t h w 3"]
  fps: float
  audio: Float32[np.ndarray, "s 2"]  # at SAMPLE_RATE, in [-1, 1]
  flow: Float32[np.ndarray, "t z z 2"]  # latent sampling grids in [-1, 1]
  settings: dict[str, Any]  # written as JSON beside the video
  notes: tuple[str, ...] = ()  # what the user should know, one line each

  def save(self, path: str | pathlib.Path) -> list[pathlib.Path]:
    """Writes PATH (mp4), a contact sheet (png) and the settings (json) beside it."""
    path = pathlib.Path(path)
    sheet, side = path.with_suffix(".png"), path.with_suffix(".json")
    writer.write_video(path, self.frames, int(self.fps), self.audio, SAMPLE_RATE)
    writer.write_image(sheet, contact_sheet(self.frames))
    files.write_json(side, self.settings)
    return [path, sheet, side]


def contact_sheet(
  frames: UInt8[np.ndarray, "t h w 3"], columns: int = 10
) -> UInt8[np.ndarray, "sheet_h sheet_w 3"]:
  """Returns all frames in rows of `columns`, the last row filled with black."""
  missing = -len(frames) % columns
  frames = np.concatenate([frames, np.zeros((missing, *frames.shape[1:]), np.uint8)])
  count, height, width, _ = frames.shape
  grid = frames.reshape(count // columns, columns, height, width, 3)
  return grid.swapaxes(1, 2).reshape(-1, columns * width, 3)
