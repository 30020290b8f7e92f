"""Defines what a source provides: a list of videos, their songs, and their files.

All that differs between AIST, a folder of videos and generated dances is behind
`Source`; once there is a file, one ingest serves all (`data_pipeline.cutting.ingest`).
"""

import dataclasses
import hashlib
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from data_pipeline.errors import UserError
from data_pipeline.media import reader
from data_pipeline.media.errors import MediaError
from data_pipeline.synthdance.truth import Truth

SAMPLE_RATE = 22_050  # of songs, for the beat tracker
VIDEO_SUFFIXES = (
  *(".mp4", ".mov", ".m4v", ".3gp", ".mkv", ".webm", ".avi", ".ts", ".mts", ".m2ts"),
  *(".mpg", ".mpeg", ".wmv", ".flv", ".ogv"),
)
SONG_SUFFIXES = (
  *(".wav", ".flac", ".ogg", ".mp3", ".m4a", ".aac", ".opus", ".wma", ".mka"),
  *(".aif", ".aiff", ".au", ".caf", ".oga", ".wv"),
)
READING = 3  # raised when the same files give other clips or beats
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclasses.dataclass(frozen=True)
class SourceVideo:
  """One video of a source; strings are empty if unknown.

  Attributes:
    name: unique in the source; also used as a file name.
    split: train, test, ...
    song: name of its music; beats are tracked once per song.
    song_start_seconds: position in the song at which the video begins.
    genre, track, dancer, camera: labels of the clip records.
    file: path of the video, unless it is generated.
    music_file: path of its music, used if the video has no sound.
    other_files: paths of what else its clips are made from, such as annotations.
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
  other_files: tuple[str, ...] = ()

  def __post_init__(self) -> None:
    for name in (self.name, self.split, self.song):
      if not _SAFE_NAME.fullmatch(name):
        raise UserError(
          f"{name!r} cannot name a file; use letters, digits, '_', '-' and '.'."
        )


@dataclasses.dataclass(frozen=True)
class Finding:
  """A line of the report: a video that did not become clips, or became odd ones.

  Attributes:
    status: missing, broken, ignored, unlisted or too_short; of a video that did become
      clips, silent or noted; after an earlier build, added, changed or gone.
    name: of the video or its file.
    reason: in words; may be empty.
  """

  status: str
  name: str
  reason: str = ""


@dataclasses.dataclass(frozen=True)
class Survey:
  """The contents of a source.

  Attributes:
    videos: in a fixed order.
    songs: files that contain each song, best first; empty for generated songs.
    findings: files that are missing, left out or not recognised.
    expected: number of listed videos per split; empty if there are no lists.
    generator: version of the program that makes the videos; empty if they are files.
  """

  videos: Sequence[SourceVideo]
  songs: Mapping[str, Sequence[str]]
  findings: Sequence[Finding] = ()
  expected: Mapping[str, int] = dataclasses.field(default_factory=dict)
  generator: str = ""

  def song_digest(self, song: str) -> str:
    """Returns a digest of what a song is read from; another one is another song."""
    return _digest(song, self.generator, *map(_file_state, self.songs[song]))

  def video_digest(self, video: SourceVideo) -> str:
    """Returns a digest of all that the clips of a video are made from."""
    labels = (video.split, video.genre, video.track, video.dancer, video.camera)
    paths = (video.file, video.music_file, *video.other_files)
    states = [_file_state(path) for path in paths if path]
    start = str(video.song_start_seconds)
    return _digest(self.song_digest(video.song), *labels, start, *states)


@dataclasses.dataclass(frozen=True)
class Joints:
  """Annotated joints of a video in COCO order, at their own rate; NaN if unknown.

  Attributes:
    fps: annotations per second.
    joints2d: (x, y) in pixels of the video.
    joints3d: (x, y, z) in the units of the annotation.
  """

  fps: float
  joints2d: Float32[np.ndarray, "n 17 2"]
  joints3d: Float32[np.ndarray, "n 17 3"]


@dataclasses.dataclass(frozen=True)
class VideoFile:
  """A video on disk and what is known about it.

  Attributes:
    path: of the video.
    music: path of its music, used if the video has no sound.
    truth: of a generated video.
    joints: of an annotated video.
    sound: path of its sound, if that in the video is not to be used.
  """

  path: pathlib.Path
  music: pathlib.Path | None = None
  truth: Truth | None = None
  joints: Joints | None = None
  sound: pathlib.Path | None = None


@runtime_checkable
class Source(Protocol):
  """A set of videos; small, because it is sent to worker processes.

  Attributes:
    name: kept in the manifest.
    finds_shots: whether a video may consist of several shots.
  """

  name: str
  finds_shots: bool

  def description(self) -> dict[str, Any]:
    """Returns the settings that define the source, wherever its files are.

    The manifest keeps them; another description is another data set.
    """
    ...

  def survey(self) -> Survey:
    """Lists all videos and songs, without opening the files."""
    ...

  def song_audio(
    self, song: str, files: Sequence[str]
  ) -> tuple[Float32[np.ndarray, "s"], int]:
    """Returns a whole song, mono in [-1, 1], and its sample rate.

    Args:
      song: its name.
      files: as in `Survey.songs`.

    Raises:
      MediaError: no file of the song can be read.
    """
    ...

  def video_file(self, video: SourceVideo, folder: pathlib.Path) -> VideoFile:
    """Returns the file of a video; a generated one is written to `folder`."""
    ...


def _digest(*texts: str) -> str:
  return hashlib.sha256(repr(texts).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _file_state(path: str) -> str:
  """Returns size and time of a file, and whether it may be read."""
  try:
    stat = os.stat(path)
  except OSError:
    return "absent"
  closed = "" if os.access(path, os.R_OK) else " closed"
  return f"{READING} {stat.st_size} {stat.st_mtime_ns}{closed}"


def list_files(folder: str) -> list[pathlib.Path]:
  """Lists a folder except the data sets in it, whose films by `inspect` show beats."""
  root = pathlib.Path(folder)
  paths = sorted(root.rglob("*"))
  sets = {path.parent for path in paths if path.name == "shards"}
  sets = {path for path in sets if (path / "manifest.json").exists()}
  closed = {path / "inspect" for path in sets}  # beside it may be its videos
  return [path for path in paths if closed.isdisjoint((path, *path.parents))]


def read_song(song: str, files: Sequence[str]) -> tuple[Float32[np.ndarray, "s"], int]:
  """Reads a song from the first of `files` that can be read and is not silent.

  Returns:
    Mono samples in [-1, 1], and their rate; silence if there is nothing else.

  Raises:
    MediaError: none can be read; the message is about the last one.
  """
  reason = f"{song}: no file contains this song; put its music beside the videos."
  silence = None
  for file in files:
    try:
      audio = reader.read_audio(file, SAMPLE_RATE)
    except MediaError as error:
      reason = str(error)
      continue
    if not reader.is_silent(audio):
      return audio, SAMPLE_RATE
    silence = audio
  if silence is not None:
    return silence, SAMPLE_RATE
  raise MediaError(reason)
