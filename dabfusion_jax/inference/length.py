"""How long a dance is, as asked for or as its music, and how many frames that is."""

import math

from dabfusion_jax.inference.inputs import InputError, OptionError, check_integer
from dabfusion_jax.inference.options import (
  END,
  FULL,
  MAX_FPS,
  REFUSE,
  SMOOTH_FPS,
  DanceOptions,
)
from dabfusion_jax.inference.song import SLACK_SECONDS, Song
from dabfusion_jax.settings.diffusion import DiffusionSettings

MIN_FRAMES = 2  # one frame is no motion


def check_window(num_frames: int | None, settings: DiffusionSettings) -> int:
  """Returns the frames that are drawn at once, checked against what a model can.

  Args:
    num_frames: as asked for; None: as trained.
    settings: the model's.

  Raises:
    OptionError: a number of frames that the model cannot draw.
  """
  trained = settings.data.num_frames
  if num_frames is None:
    return trained
  check_integer("num_frames", num_frames, MIN_FRAMES)
  is_fixed = settings.condition.beat_mode == "global_concat"
  if is_fixed and num_frames != trained:
    raise OptionError(
      f"This model makes {trained} frames and no other number (its beats are one"
      f" vector), not {num_frames}."
    )
  return num_frames


def frames_per_motion(asked: int | None, fps: float) -> int:
  """Returns how many frames of a video are drawn per frame of the motion.

  Args:
    asked: frames per second of the video; None: at most `SMOOTH_FPS`.
    fps: frames per second of the motion.

  Raises:
    OptionError: a rate that is no multiple of that of the motion.
  """
  if asked is None:
    return max(1, int(SMOOTH_FPS // fps))
  times = round(asked / fps)
  if times < 1 or times * fps != asked:
    rates = [f"{i * fps:g}" for i in range(1, max(1, int(MAX_FPS // fps)) + 1)]
    raise OptionError(
      f"This model's motion has {fps:g} frames per second: fps must be"
      f" {', '.join(rates)}; not {asked}."
    )
  return times


def count_frames(song: Song, asked: DanceOptions, window: int, fps: float) -> int:
  """Returns the number of frames of a dance's motion.

  Args:
    song: that it is danced to.
    asked: for its duration, and what happens if the music is shorter.
    window: frames of a dance whose duration is not asked for.
    fps: frames per second of the motion.

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
