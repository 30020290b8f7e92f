"""How long a dance is: as asked for, or as its music."""

import math

from dabfusion_jax.inference.inputs import InputError
from dabfusion_jax.inference.options import END, FULL, REFUSE, DanceOptions
from dabfusion_jax.inference.song import SLACK_SECONDS, Song

MIN_FRAMES = 2  # one frame is no motion


def count_frames(song: Song, asked: DanceOptions, window: int, fps: float) -> int:
  """Returns the number of frames of a dance.

  Args:
    song: that it is danced to.
    asked: for its duration, and what happens if the music is shorter.
    window: frames of a dance whose duration is not asked for.
    fps: frames per second.

  Raises:
    InputError: the music is too short.
  """
  rest = song.seconds - song.start_seconds
  whole = math.ceil((rest - SLACK_SECONDS) * fps)
  if asked.duration == FULL:
    wanted, may_end = max(whole, MIN_FRAMES), True
  else:
    asks = window if asked.duration is None else round(asked.duration * fps)
    wanted, may_end = max(asks, MIN_FRAMES), asked.short_music == END
  if song.is_looped or wanted / fps <= rest + SLACK_SECONDS:
    return wanted
  if may_end and whole >= MIN_FRAMES:
    return whole
  seconds, start = wanted / fps, song.start_seconds
  advice = "choose longer music, another start, or a shorter dance"
  if asked.short_music == REFUSE and asked.duration != FULL:
    advice += ", or --short_music=loop or end"
  raise InputError(
    f"{song.name} lasts {song.seconds:.2f} s; a dance of {seconds:g} s from {start:g} s"
    f" on needs {start + seconds:.2f} s: {advice}."
  )
