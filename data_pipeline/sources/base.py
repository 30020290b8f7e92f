"""Where videos come from: a list of them, their songs, and their files.

What differs between film, a folder and generated dances ends here; from the file on
there is one ingest for all (`data_pipeline.cutting.ingest`).
"""

import dataclasses
import functools
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from data_pipeline import aist
from data_pipeline.errors import UserError
from data_pipeline.media import reader
from data_pipeline.media.errors import MediaError
from data_pipeline.synthdance import generate, music, presets
from data_pipeline.synthdance.truth import Truth

SAMPLE_RATE = 22_050  # of songs, for the beat tracker
VIDEO_SUFFIXES = (
  *(".mp4", ".mov", ".m4v", ".3gp", ".mkv", ".webm", ".avi", ".ts", ".mts", ".m2ts"),
  *(".mpg", ".mpeg", ".wmv", ".flv", ".ogv"),
)
SONG_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".m4a", ".aac")
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclasses.dataclass(frozen=True)
class SourceVideo:
  """One video of a source; texts are empty where unknown.

  Attributes:
    name: unique in the source, used as a file name.
    split: train, test, ...
    song: what its music is called; beats are tracked once per song.
    song_start_seconds: where in the song the video begins.
    file: where it lies, if it is not generated.
    music_file: its sound, should the file have none.
  """

  name: str
  split: str
  song: str
  song_start_seconds: float
  genre: str = ""
  track: str = ""
  dancer: str = ""
  camera: str = ""
  file: str = ""
  music_file: str = ""

  def __post_init__(self) -> None:
    for name in (self.name, self.split, self.song):
      if not _SAFE_NAME.fullmatch(name):
        raise UserError(
          f"{name!r} cannot name a file; use letters, digits, '_', '-' and '.'."
        )


@dataclasses.dataclass(frozen=True)
class Finding:
  """A line of the report: what did not become clips, and why."""

  status: str  # missing, broken, ignored, unlisted, too_short, padded, looped
  name: str
  reason: str = ""


@dataclasses.dataclass(frozen=True)
class Survey:
  """What a source holds.

  Attributes:
    videos: in a fixed order.
    songs: the files that each song can be heard from, best first; empty if generated.
    findings: files that are missing, left out or not understood.
    expected: how many videos the lists ask for, by split; empty without lists.
  """

  videos: Sequence[SourceVideo]
  songs: Mapping[str, Sequence[str]]
  findings: Sequence[Finding] = ()
  expected: Mapping[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Joints:
  """Annotated joints at their own rate; NaN where unknown.

  Attributes:
    fps: of the annotation.
    joints2d: float32 [n 17 2], pixels of the video, COCO order.
    joints3d: float32 [n 17 3].
  """

  fps: float
  joints2d: Float32[np.ndarray, "n 17 2"]
  joints3d: Float32[np.ndarray, "n 17 3"]


@dataclasses.dataclass(frozen=True)
class Film:
  """A video on disk and what is known of it."""

  path: pathlib.Path
  music: pathlib.Path | None = None  # its sound, should the file have none
  truth: Truth | None = None  # of a generated video
  joints: Joints | None = None  # of an annotated one


@runtime_checkable
class Source(Protocol):
  """A set of videos; it is sent to worker processes, so it must be small."""

  name: str
  finds_shots: bool  # whether videos may be cut together of several shots

  def description(self) -> dict[str, Any]:
    """What makes it the source it is, wherever it lies; kept in the manifest."""
    ...

  def survey(self) -> Survey:
    """All videos and songs."""
    ...

  def song_audio(
    self, song: str, files: Sequence[str]
  ) -> tuple[Float32[np.ndarray, "s"], int]:
    """The whole song, mono, and its sample rate; `files` as the survey has them."""
    ...

  def film(self, video: SourceVideo, folder: pathlib.Path) -> Film:
    """The file of a video, made in `folder` if need be."""
    ...


def song_from_files(
  song: str, files: Sequence[str]
) -> tuple[Float32[np.ndarray, "s"], int]:
  """The sound of the first file that can be read.

  Raises:
    MediaError: none can.
  """
  reason = f"{song}: no file has this song; give the music beside the videos."
  for file in files:
    try:
      return reader.read_audio(file, SAMPLE_RATE), SAMPLE_RATE
    except MediaError as error:
      reason = str(error)
  raise MediaError(reason)


@dataclasses.dataclass(frozen=True)
class SynthDance:
  """Generated dances; `preset` is smoke, demo or full."""

  preset: str
  split: str = "official"
  name: str = "synthdance"
  finds_shots: bool = False

  def description(self) -> dict[str, Any]:
    return {"name": self.name, "preset": self.preset, "split": self.split}

  def survey(self) -> Survey:
    tracks, dancers = aist.held_out_tracks(self.split), aist.held_out_dancers()
    videos = [
      SourceVideo(
        name=str(spec.name),
        split=aist.split_of(spec.name, tracks, dancers),
        song=spec.name.music,
        song_start_seconds=spec.start_seconds,
        genre=spec.name.genre,
        track=spec.name.music,
        dancer=spec.name.dancer,
        camera=spec.name.camera,
      )
      for spec in presets.clips_of_preset(self.preset)
    ]
    return Survey(videos, {video.song: () for video in videos})

  def song_audio(
    self, song: str, files: Sequence[str]
  ) -> tuple[Float32[np.ndarray, "s"], int]:
    del files  # it is composed
    return music.render_music(song).mean(axis=1), music.SAMPLE_RATE

  def film(self, video: SourceVideo, folder: pathlib.Path) -> Film:
    spec = _specs(self.preset)[video.name]
    path = generate.write_clip(
      spec.name,
      folder,
      framing=spec.framing,
      fps=spec.fps,
      seconds=spec.seconds,
      start_seconds=spec.start_seconds,
    )
    return Film(path, truth=Truth.load(path.with_suffix(".truth.npz")))


@functools.cache
def _specs(preset: str) -> Mapping[str, presets.ClipSpec]:
  return {str(spec.name): spec for spec in presets.clips_of_preset(preset)}
