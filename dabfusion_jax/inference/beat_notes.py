"""What a user is told of the beats that a dance follows."""

import numpy as np
from jaxtyping import Float64

from dabfusion_jax.inference.song import Song

# Seconds without a beat, and as many of the usual intervals, that are noted.
_MIN_GAP, _MIN_BEATS = 2.0, 4


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
    return _gap_notes(song, seconds) if is_danced else (none,)
  if not is_danced:
    none = "No beats were found in this part of the music, so the dance follows none"
    return (f"{none}; --beats=FILE can give them.",)
  if not tracked.doubt:
    return ()
  if tracked.other_bpm is not None:
    other = f"{tracked.other_bpm:.0f}"
    return (
      f"The music may be felt at {other} beats per minute too; if it is, dance to it"
      f" with --bpm={other}.",
    )
  return (
    f"The beats of the music may be wrong. {tracked.doubt} If its tempo is known,"
    " --bpm=N helps to find them; --beats=FILE can give them.",
  )


def _gap_notes(song: Song, seconds: float) -> tuple[str, ...]:
  """Returns a note on the longest part of a dance for which no beats were given."""
  first = song.start_seconds
  last = min(first + seconds, song.seconds)
  times = song.beat_times
  inside = times[(times > first) & (times < last)]
  edges = np.concatenate([[first], inside, [last]])
  longest = int(np.argmax(np.diff(edges)))
  begin, end = edges[longest : longest + 2]
  usual = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
  if end - begin <= max(_MIN_GAP, _MIN_BEATS * usual):
    return ()
  return (
    f"The given beats leave a gap from {begin:.1f} s to {end:.1f} s of the music; if it"
    " has beats there, give them too.",
  )
