"""Provides generated dances (`data_pipeline.synthdance`) as a source of videos."""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32

from data_pipeline import aist
from data_pipeline.errors import UserError
from data_pipeline.sources.base import SourceVideo, Survey, VideoFile
from data_pipeline.synthdance import generate, music, presets
from data_pipeline.synthdance.truth import Truth

GENERATOR = 3  # raised when the same names give other videos, songs or truth


@dataclasses.dataclass(frozen=True)
class SynthDanceSource:
  """Generated dances.

  Attributes:
    preset: one of `presets.PRESETS`.
    split: which tracks are kept for testing (`aist.held_out_tracks`).
  """

  preset: str
  split: str = "official"
  name: str = "synthdance"
  finds_shots: bool = False

  def description(self) -> dict[str, Any]:
    """Returns the name, preset and split."""
    return {"name": self.name, "preset": self.preset, "split": self.split}

  def survey(self) -> Survey:
    """Lists the videos of the preset.

    Raises:
      UserError: it has no clips for this split.
    """
    tracks, dancers = aist.held_out_tracks(self.split), aist.held_out_dancers()
    if self.split != "official" and self.preset != "full":
      raise UserError(
        f"The preset {self.preset!r} has no clips for --split={self.split}: it was "
        "drawn for the official test tracks. Leave --split out, or use the preset full."
      )
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
    songs = {video.song: () for video in videos}
    return Survey(videos, songs, generator=str(GENERATOR))

  def song_audio(
    self, song: str, files: Sequence[str]
  ) -> tuple[Float32[np.ndarray, "s"], int]:
    """Composes a song; `files` is not used."""
    del files
    return music.render_music(song).mean(axis=1), music.SAMPLE_RATE

  def video_file(self, video: SourceVideo, folder: pathlib.Path) -> VideoFile:
    """Writes a video, its sound and its truth to `folder`.

    The sound in the video depends on the version of the encoder, that beside it on
    nothing.
    """
    spec = _specs(self.preset)[video.name]
    path = generate.write_clip(
      spec.name,
      folder,
      framing=spec.framing,
      fps=spec.fps,
      seconds=spec.seconds,
      start_seconds=spec.start_seconds,
      look=spec.look,
      delay_beats=spec.delay_beats,
    )
    truth = Truth.load(path.with_suffix(".truth.npz"))
    return VideoFile(path, sound=path.with_suffix(".wav"), truth=truth)


@functools.cache
def _specs(preset: str) -> Mapping[str, presets.ClipSpec]:
  return {str(spec.name): spec for spec in presets.clips_of_preset(preset)}
