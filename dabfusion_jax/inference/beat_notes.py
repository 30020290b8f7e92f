"""What a user is told of the beats that a dance follows."""

import numpy as np
from jaxtyping import Float64

from dabfusion_jax.inference.song import Song
from data_pipeline.music.tracked import tempo_of


def beat_notes(
  song: Song, times: Float64[np.ndarray, "n"], seconds: float
) -> tuple[str, ...]:
  """Returns notes on beats that are missing, or that may be wrong, with their cure.

  Args:
    song: that is danced to.
    times: its beats, in seconds from the start of the dance.
    seconds: length of the dance.
  """
  is_danced = ((times >= 0) & (times < seconds)).any()
  tracked = song.tracked
  if tracked is None:
    none = "None of the given beats lies in this part of the music."
    return () if is_danced else (none,)
  if not is_danced:
    none = "No beats were found in this part of the music, so the dance follows none"
    return (f"{none}; --beats=FILE can give them.",)
  if not tracked.doubt:
    return ()
  if tracked.other_bpm is not None:
    heard, other = tempo_of(tracked.times), tracked.other_bpm
    return (
      f"The music was heard at {heard:.0f} beats per minute; if it feels like"
      f" {other:.0f}, dance to it with --bpm={other:.0f}.",
    )
  return (
    f"The beats of the music may be wrong. {tracked.doubt} If its tempo is known,"
    " --bpm=N helps to find them; --beats=FILE can give them.",
  )
