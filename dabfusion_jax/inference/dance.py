"""A generated video, the files it is saved as, and how a notebook shows it."""

import base64
import html
import pathlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from dabfusion_jax.inference.dance_files import MADE_ONCE, Part, inputs_of, save_dance
from dabfusion_jax.inference.pairs import name_in
from data_pipeline import cli, files
from data_pipeline.errors import UserError
from data_pipeline.media import writer

SAMPLE_RATE = 44_100  # of the sound beside the picture
_MIN_SHOWN = 256  # pixels; the network's own frames are small


@dataclass(frozen=True)
class Dance:
  """A generated video with its music and every setting that made it.

  The motion, flow and occlusion, may have fewer frames per second than the video.
  """

  frames: UInt8[np.ndarray, "t h w 3"]
  fps: float
  audio: Float32[np.ndarray, "s 2"]  # at SAMPLE_RATE, in [-1, 1]
  flow: Float32[np.ndarray, "m z z 2"]  # latent sampling grids in [-1, 1]
  occlusion: Float32[np.ndarray, "m z z 1"]  # in [0, 1]; 1 where the picture shows all
  settings: dict[str, Any]  # written as JSON beside the video
  notes: tuple[str, ...] = ()  # what the user should know, one line each
  still: UInt8[np.ndarray, "h w 3"] | None = None  # the picture as it is danced in

  def __repr__(self) -> str:
    num, (height, width) = len(self.frames), self.frames.shape[1:3]
    return f"<Dance: {num} frames of {width} x {height} pixels, {num / self.fps:.1f} s>"

  @property
  def motion_fps(self) -> float:
    """Returns the frames per second of the motion."""
    return self.fps * len(self.flow) / len(self.frames)

  @property
  def beats(self) -> Float64[np.ndarray, "n"]:
    """Returns the beats that were danced to, in seconds from the first frame on."""
    times = np.asarray(self.settings["beat_times"], np.float64)
    return times[(times >= 0) & (times < len(self.frames) / self.fps)]

  def save(
    self, path: str | pathlib.Path, *, side_by_side: bool = False
  ) -> list[pathlib.Path]:
    """Writes PATH (mp4, webm or gif), a contact sheet (png) and the settings (json).

    Args:
      path: of the video; a missing folder is made.
      side_by_side: whether to show the picture to the left of the dance.

    Raises:
      UserError: it would overwrite the picture or music that it is made of, or a file
        that no earlier dance of this name has written.
    """
    part = Part(self.frames, self.flow, self.occlusion, self.audio)
    still = self.still if side_by_side else None
    path = files.local_path(path)
    return save_dance(path, [part], self.fps, SAMPLE_RATE, self.settings, still)

  def to_gif(self, path: str | pathlib.Path) -> pathlib.Path:
    """Writes the frames of the motion, without sound, as a GIF that repeats.

    A GIF of this name is replaced.

    Raises:
      UserError: the name is no GIF's, or that of the picture that it is made of.
    """
    path = files.local_path(path)
    if path.suffix.lower() != ".gif":
      raise UserError(f"{path}: the name of a GIF must end in .gif.")
    read = {pathlib.Path(name).resolve() for name in inputs_of(self.settings)}
    if path.resolve() in read:
      raise UserError(f"{path} would overwrite an input; choose another name.")
    files.check_writable(path, is_folder=False)
    frames, fps = self.frames[:: round(self.fps / self.motion_fps)], self.motion_fps
    writer.write_video(path, frames, int(fps), None, SAMPLE_RATE)
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


@dataclass(frozen=True)
class DanceStream:
  """A dance of any length that is made while it is read or saved, once.

  Memory holds a window of its frames; `Dance` says what the other attributes are.
  """

  parts: Iterator[Part] = field(repr=False)
  num_frames: int
  fps: float
  settings: dict[str, Any] = field(repr=False)
  notes: tuple[str, ...]
  still: UInt8[np.ndarray, "h w 3"] = field(repr=False)

  def save(
    self, path: str | pathlib.Path, *, side_by_side: bool = False
  ) -> list[pathlib.Path]:
    """Writes the dance as it is made; see `Dance.save`.

    Raises:
      KeyboardInterrupt: after Ctrl-C. What was made by then is saved; the text says
        what.
    """
    still = self.still if side_by_side else None
    path = files.local_path(path)
    return save_dance(path, self.parts, self.fps, SAMPLE_RATE, self.settings, still)

  def collect(self) -> Dance:
    """Makes the whole dance in memory.

    Raises:
      UserError: it, or part of it, has been made before.
    """
    parts = list(self.parts)
    if sum(len(part.frames) for part in parts) < self.num_frames:
      raise UserError(MADE_ONCE)
    frames, flow, occlusion, audio = map(np.concatenate, zip(*parts, strict=True))
    return Dance(
      frames,
      self.fps,
      audio,
      flow,
      occlusion,
      self.settings,
      self.notes,
      self.still,
    )


@dataclass(frozen=True)
class FailedDance:
  """A dance of many that cannot be made, why, and the names of its inputs."""

  reason: Exception
  image: str
  music: str

  def collect(self) -> NoReturn:
    """Raises the reason, in one line that names both inputs."""
    line = name_in(cli.one_line(self.reason), self.image, self.music)
    raise UserError(line) from self.reason

  def save(self, path: str | pathlib.Path, *, side_by_side: bool = False) -> NoReturn:
    """Raises the same."""
    self.collect()
