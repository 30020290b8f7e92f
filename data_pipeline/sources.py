"""Where videos come from: a list of them, their songs, and their files.

What differs between film, a folder and generated dances ends here; from the file on
there is one ingest for all (`data_pipeline.ingest`).
"""

import dataclasses
import functools
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from data_pipeline import aist
from data_pipeline.synthdance import generate, music, presets
from data_pipeline.synthdance.truth import Truth

_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclasses.dataclass(frozen=True)
class SourceVideo:
  """One video of a source; texts are empty where unknown.

  Attributes:
    name: unique in the source, used as a file name.
    split: train, test, ...
    song: what its music is called; beats are tracked once per song.
    song_start_seconds: where in the song the video begins.
  """

  name: str
  split: str
  song: str
  song_start_seconds: float
  genre: str = ""
  track: str = ""
  dancer: str = ""
  camera: str = ""

  def __post_init__(self) -> None:
    for name in (self.name, self.split, self.song):
      if not _SAFE_NAME.fullmatch(name):
        raise ValueError(
          f"{name!r} cannot name a file; use letters, digits, '_', '-' and '.'."
        )


@runtime_checkable
class Source(Protocol):
  """A set of videos; it is sent to worker processes, so it must be small."""

  name: str

  def videos(self) -> Sequence[SourceVideo]:
    """All videos, in a fixed order."""
    ...

  def song_audio(self, song: str) -> tuple[Float32[np.ndarray, "s"], int]:
    """The whole song, mono, and its sample rate."""
    ...

  def video_file(
    self, name: str, folder: pathlib.Path
  ) -> tuple[pathlib.Path, Truth | None]:
    """The file of a video, made in `folder` if need be, and its truth if known."""
    ...


@dataclasses.dataclass(frozen=True)
class SynthDance:
  """Generated dances; `preset` is smoke, demo or full."""

  preset: str
  split: str = "official"
  name: str = "synthdance"

  def videos(self) -> Sequence[SourceVideo]:
    tracks, dancers = aist.held_out_tracks(self.split), aist.held_out_dancers()
    return [
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

  def song_audio(self, song: str) -> tuple[Float32[np.ndarray, "s"], int]:
    return music.render_music(song).mean(axis=1), music.SAMPLE_RATE

  def video_file(
    self, name: str, folder: pathlib.Path
  ) -> tuple[pathlib.Path, Truth | None]:
    spec = _specs(self.preset)[name]
    path = generate.write_clip(
      spec.name,
      folder,
      framing=spec.framing,
      fps=spec.fps,
      seconds=spec.seconds,
      start_seconds=spec.start_seconds,
    )
    return path, Truth.load(path.with_suffix(".truth.npz"))


@functools.cache
def _specs(preset: str) -> Mapping[str, presets.ClipSpec]:
  return {str(spec.name): spec for spec in presets.clips_of_preset(preset)}
