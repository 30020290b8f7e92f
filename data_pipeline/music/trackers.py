"""Tracks the beats of a song, by the tracker that is asked for.

A tracker does badly on four seconds of music (librosa: 26 of 33 tempi of real tracks)
and well on whole songs, so it is given the whole song, and `beats.slice_beats` cuts a
window.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Float64

from data_pipeline.errors import UserError
from data_pipeline.weights import MissingWeightsError

LIBROSA, CRNN = "librosa", "crnn"
TRACKERS = (LIBROSA, CRNN)
# What is told of beats that may be wrong, one sentence each.
NO_BEAT = "No beat can be heard in it."
UNCLEAR = "Its beats are hard to hear."
UNSTEADY = "Its tempo is not steady."
_STEADY = 0.08  # relative change of tempo from one half of a song to the other
_REGULAR = 0.12  # mean deviation of beats from their median interval


@dataclasses.dataclass(frozen=True)
class Tracked:
  """The beats of a song as a tracker hears them, in seconds from its start.

  Attributes:
    times: of all beats, ascending, none below zero; empty if there are none.
    downbeats: those of them that begin a bar; empty if the tracker does not tell.
    doubt: a sentence on why they may be wrong, or an empty string.
    other_bpm: the tempo they may have instead, if the doubt is which of two it is.
  """

  times: Float64[np.ndarray, "n"]
  downbeats: Float64[np.ndarray, "m"] = dataclasses.field(
    default_factory=lambda: np.zeros(0)
  )
  doubt: str = ""
  other_bpm: float | None = None


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


def tempo_of(times: Float64[np.ndarray, "n"]) -> float:
  """Returns the median tempo of beats, in beats per minute."""
  return 60 / float(np.median(np.diff(times)))


def doubt_of_tempo(times: Float64[np.ndarray, "n"]) -> str:
  """Returns a sentence if beats change their tempo or are uneven, else nothing."""
  steps = np.diff(times)
  if len(steps) < 4:
    return ""
  halves = [60 / float(np.median(half)) for half in np.array_split(steps, 2)]
  uneven = float(np.mean(np.abs(steps / np.median(steps) - 1)))
  return doubt_of_tempi(*halves) or (UNSTEADY if uneven > _REGULAR else "")


def doubt_of_tempi(first: float, second: float) -> str:
  """Returns a sentence if the tempi of the halves of a song differ, else nothing."""
  if abs(np.log(second / first)) <= _STEADY:
    return ""
  return f"Its tempo changes, from {first:.0f} to {second:.0f} beats per minute."
