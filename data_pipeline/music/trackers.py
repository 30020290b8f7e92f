"""Tracks the beats of a song, by the tracker that is asked for.

A tracker does badly on four seconds of music (librosa: 26 of 33 tempi of real tracks)
and well on whole songs, so it is given the whole song, and `beats.slice_beats` cuts a
window.
"""

import functools
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from data_pipeline.errors import UserError
from data_pipeline.music.tracked import CRNN, LIBROSA, TRACKERS, Tracked
from data_pipeline.weights import MissingWeightsError


@runtime_checkable  # for the type checks of the tests
class BeatTracker(Protocol):
  """Finds the beats of whole songs.

  Attributes:
    name: one of `TRACKERS`.
  """

  name: str

  @property
  def identity(self) -> Mapping[str, Any]:
    """Returns what data sets record of it."""
    ...

  def __call__(
    self, audio: Float32[np.ndarray, "s"], sample_rate: int, bpm: float | None = None
  ) -> Tracked:
    """Finds the beats of a song.

    Args:
      audio: mono, in [-1, 1], at any level.
      sample_rate: in samples per second.
      bpm: the tempo if it is known.

    Raises:
      UserError: the sound contains NaN or infinity.
    """
    ...


@functools.cache  # per process
def make_tracker(name: str) -> BeatTracker:
  """Makes the tracker of that name.

  Raises:
    UserError: the name is unknown, or its weights are missing.
  """
  if name == CRNN:
    from data_pipeline.music.crnn_tracker import CrnnTracker

    return CrnnTracker()
  if name != LIBROSA:
    raise UserError(f"Unknown beat tracker {name!r}; known: {', '.join(TRACKERS)}.")
  from data_pipeline.music.librosa_tracker import LibrosaTracker

  return LibrosaTracker()


def best_tracker() -> tuple[BeatTracker, str]:
  """Returns `crnn` if its weights are imported, else `librosa` and why not the other.

  Raises:
    WeightsError: the weights are damaged.
  """
  try:
    return make_tracker(CRNN), ""
  except MissingWeightsError as error:
    return make_tracker(LIBROSA), str(error)
