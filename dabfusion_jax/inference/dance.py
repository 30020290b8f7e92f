"""A generated video, the files it is saved as, and how a notebook shows it."""

import base64
import html
import pathlib
import tempfile
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from data_pipeline import files
from data_pipeline.errors import UserError
from data_pipeline.media import writer

SAMPLE_RATE = 44_100  # of the sound beside the picture
_MIN_SHOWN = 256  # pixels; the network's own frames are small


@dataclass(frozen=True)
class Dance:
  """A generated video with its music and every setting that made it."""

  frames: UInt8[np.ndarray, "t h w 3"]
  fps: float
  audio: Float32[np.ndarray, "s 2"]  # at SAMPLE_RATE, in [-1, 1]
  flow: Float32[np.ndarray, "t z z 2"]  # latent sampling grids in [-1, 1]
  occlusion: Float32[np.ndarray, "t z z 1"]  # in [0, 1]; 1 where the picture shows all
  settings: dict[str, Any]  # written as JSON beside the video
  notes: tuple[str, ...] = ()  # what the user should know, one line each

  @property
  def beats(self) -> Float64[np.ndarray, "n"]:
    """Returns the beats that were danced to, in seconds from the first frame on."""
    times = np.asarray(self.settings["beat_times"], np.float64)
    return times[(times >= 0) & (times < len(self.frames) / self.fps)]

  def save(self, path: str | pathlib.Path) -> list[pathlib.Path]:
    """Writes PATH (mp4), a contact sheet (png) and the settings (json) beside it."""
    path = pathlib.Path(path)
    sheet, side = path.with_suffix(".png"), path.with_suffix(".json")
    writer.write_video(path, self.frames, int(self.fps), self.audio, SAMPLE_RATE)
    writer.write_image(sheet, contact_sheet(self.frames))
    files.write_json(side, self.settings)
    return [path, sheet, side]

  def to_gif(self, path: str | pathlib.Path) -> pathlib.Path:
    """Writes the frames, without sound, as an animated GIF that repeats."""
    path = pathlib.Path(path)
    if path.suffix.lower() != ".gif":
      raise UserError(f"{path}: the name of a GIF must end in .gif.")
    writer.write_video(path, self.frames, int(self.fps), None, SAMPLE_RATE)
    return path

  def _repr_html_(self) -> str:
    """Returns a player of the video with its sound, which notebooks show."""
    height, width = self.frames.shape[1:3]
    with tempfile.TemporaryDirectory() as folder:
      file = pathlib.Path(folder) / "dance.mp4"
      writer.write_video(file, self.frames, int(self.fps), self.audio, SAMPLE_RATE)
      data = base64.b64encode(file.read_bytes()).decode()
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in self.notes)
    return (
      f'<video controls loop width="{max(width, _MIN_SHOWN)}"'
      f' style="aspect-ratio: {width} / {height}"'
      f' src="data:video/mp4;base64,{data}"></video>{notes}'
    )


def contact_sheet(
  frames: UInt8[np.ndarray, "t h w 3"], columns: int = 10
) -> UInt8[np.ndarray, "sheet_h sheet_w 3"]:
  """Returns all frames in rows of `columns`, the last row filled with black."""
  missing = -len(frames) % columns
  frames = np.concatenate([frames, np.zeros((missing, *frames.shape[1:]), np.uint8)])
  count, height, width, _ = frames.shape
  grid = frames.reshape(count // columns, columns, height, width, 3)
  return grid.swapaxes(1, 2).reshape(-1, columns * width, 3)
