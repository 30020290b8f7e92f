"""The beats of a song as a tracker hears them, and what may be wrong with them."""

import dataclasses

import numpy as np
from jaxtyping import Float64

LIBROSA, CRNN = "librosa", "crnn"
TRACKERS = (LIBROSA, CRNN)
# Notes on beats that may be wrong, one sentence each.
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
