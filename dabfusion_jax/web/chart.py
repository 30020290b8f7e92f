"""Draws the beats over the waveform, and the speed of the dance under it, as SVG."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Float32

from dabfusion_jax.metrics.motion import strict_kinematic_beats

# Size of the drawing. A page scales it to its own width: at 360 pixels, as on a phone,
# letters are 12 pixels high.
WIDTH, HEIGHT = 480, 250
_SOUND, _SPEED = (62, 50), (180, 60)  # middle line or base, and height above it
_BINS = 360  # of the waveform
# Lines have a contrast of 3.6 and more on pages that are white or dark.
_COLOURS = {"sound": "#7b8794", "beat": "#e74c3c", "speed": "#3b82c4"}


def draw_dance(
  audio: Float32[np.ndarray, "s 2"],
  beats: Float[np.ndarray, "n"],
  speed: Float[np.ndarray, "steps"],
  fps: float,
) -> str:
  """Returns an SVG that shows whether the dance keeps the beat.

  Args:
    audio: of the dance.
    beats: in seconds from its start.
    speed: of the motion, from each frame to the next (`metrics.motion.grid_speed`).
    fps: frames per second.
  """
  seconds = (len(speed) + 1) / fps
  x = lambda time: WIDTH * float(time) / seconds
  shapes = [_waveform(audio)]
  shapes += [
    f'<line class="beat" x1="{x(beat):.1f}" x2="{x(beat):.1f}" y1="8" y2="188"'
    f' stroke="{_COLOURS["beat"]}" stroke-width="1.5"/>'
    for beat in beats
  ]
  base, height = _SPEED
  scale = height / max(float(np.max(speed, initial=0.0)), 1e-9)
  y = lambda value: base - scale * float(value)
  times = (np.arange(len(speed)) + 0.5) / fps
  points = " ".join(f"{x(t):.1f},{y(v):.1f}" for t, v in zip(times, speed, strict=True))
  shapes.append(
    f'<polyline points="{points}" fill="none" stroke="{_COLOURS["speed"]}"'
    ' stroke-width="2"/>'
  )
  for pause in strict_kinematic_beats(speed, fps):
    value = np.interp(pause, times, speed)
    shapes.append(
      f'<circle class="pause" cx="{x(pause):.1f}" cy="{y(value):.1f}" r="4"'
      f' fill="{_COLOURS["speed"]}"/>'
    )
  shapes += _labels(x, seconds)
  title = f"{len(beats)} beats over the sound, and the speed of the dance"
  return (
    f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}"'
    ' style="width:100%;height:auto" xmlns="http://www.w3.org/2000/svg">'
    f"<title>{title}</title>{''.join(shapes)}</svg>"
  )


def _waveform(audio: Float32[np.ndarray, "s 2"]) -> str:
  """Returns the highest and lowest sample of each part of the sound, as one shape."""
  middle, height = _SOUND
  loud = max(float(np.abs(audio).max(initial=0.0)), 1e-9)
  parts = np.array_split(audio.mean(axis=1), min(_BINS, max(1, len(audio))))
  x = np.linspace(0, WIDTH, len(parts))
  top = [middle - height * part.max(initial=0.0) / loud for part in parts]
  bottom = [middle - height * part.min(initial=0.0) / loud for part in parts]
  outline = [*zip(x, top, strict=True), *reversed([*zip(x, bottom, strict=True)])]
  points = " ".join(f"{a:.1f},{b:.1f}" for a, b in outline)
  return f'<polygon points="{points}" fill="{_COLOURS["sound"]}" opacity="0.6"/>'


def _labels(x: Callable[[float | int], float], seconds: float) -> list[str]:
  step = max(1, round(seconds / 10))
  marks = [
    _text(x(time), 208, f"{time} s", "start" if not time else "middle")
    for time in range(0, int(seconds - 0.3) + 1, step)
  ]
  legend = (("beat", "beats"), ("speed", "speed of the dance, dots: pauses"))
  for i, (name, text) in enumerate(legend):
    place = 90 * i
    marks.append(
      f'<rect x="{place}" y="228" width="14" height="14" fill="{_COLOURS[name]}"/>'
    )
    marks.append(_text(place + 20, 240, text, "start"))
  return marks


def _text(x: float | int, y: int, text: str, anchor: str) -> str:
  return (
    f'<text x="{x:.1f}" y="{y:.1f}" font-size="16" font-family="sans-serif"'
    f' fill="currentColor" text-anchor="{anchor}">{text}</text>'
  )
