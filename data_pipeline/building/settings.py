"""Defines the settings of a data set."""

import dataclasses
import functools
from typing import Any

from data_pipeline.cutting.ingest import ClipFormat
from data_pipeline.cutting.windows import Windows
from data_pipeline.music.encoders import MusicEncoder, make_encoder
from data_pipeline.music.tracked import LIBROSA
from data_pipeline.music.trackers import BeatTracker, make_tracker
from data_pipeline.records import clip_record
from data_pipeline.sources.base import Source

_make_encoder_once = functools.cache(make_encoder)  # per process


@dataclasses.dataclass(frozen=True)
class BuildSettings:
  """Everything that determines a data set.

  Attributes:
    source: where the videos come from.
    form: what clips look like.
    encoder: name of the music encoder.
    beat_tracker: name of the beat tracker.
    train_windows: windows of training videos.
    other_windows: windows of all other videos.
  """

  source: Source
  form: ClipFormat
  encoder: str = "spectral"
  beat_tracker: str = LIBROSA
  train_windows: Windows = Windows()
  other_windows: Windows = Windows()

  def music_encoder(self) -> MusicEncoder:
    """Returns the music encoder."""
    return _make_encoder_once(self.encoder)

  def tracker(self) -> BeatTracker:
    """Returns the beat tracker."""
    return make_tracker(self.beat_tracker)

  def windows(self, split: str) -> Windows:
    """Returns the windows of the videos of a split."""
    return self.train_windows if split == "train" else self.other_windows

  def description(self) -> dict[str, Any]:
    """Returns the settings as kept in the manifest; others are another data set."""
    return {
      "schema_version": clip_record.SCHEMA_VERSION,
      "source": self.source.description(),
      **dataclasses.asdict(self.form),
      "encoder": self.music_encoder().identity,
      "train_windows": str(self.train_windows),
      "other_windows": str(self.other_windows),
      # No longer settings; kept so that data sets built with them are recognised.
      **{"short": "drop", "tempo_prior": False},
    } | self._tracker_description()

  def _tracker_description(self) -> dict[str, Any]:
    # Data sets that are older than the choice were tracked by librosa.
    if self.beat_tracker == LIBROSA:
      return {}
    return {"beat_tracker": dict(self.tracker().identity)}
