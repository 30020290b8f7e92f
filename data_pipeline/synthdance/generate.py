r"""Generates dance videos with their music and their truth.

  python -m data_pipeline.synthdance.generate --name=gLO_sBM_c01_d13_mLO3_ch02 \
    --framing=close --output=DIR

writes NAME.mp4, NAME.truth.npz, NAME.png (the first frame) and NAME.wav (the music).
The name determines frames and sound: the same name gives the same bytes.
"""

import argparse
import dataclasses
import pathlib
import wave
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from jaxtyping import Float32, UInt8

from data_pipeline import cli, files
from data_pipeline.aist import DANCERS, SITUATIONS, ClipName
from data_pipeline.errors import UserError
from data_pipeline.media import writer
from data_pipeline.media.framing import Number, resample_times
from data_pipeline.music.beats import slice_beats
from data_pipeline.synthdance import music
from data_pipeline.synthdance.choreography import Choreography
from data_pipeline.synthdance.film import LOOKS, film
from data_pipeline.synthdance.studio import FRAMINGS
from data_pipeline.synthdance.truth import Truth

_MAX_FPS = 240


@dataclasses.dataclass(frozen=True)
class GeneratedClip:
  """A generated video before it is encoded.

  Attributes:
    frames: 8-bit RGB.
    audio: stereo in [-1, 1], at `music.SAMPLE_RATE`.
    truth: what is known about the frames.
  """

  frames: UInt8[np.ndarray, "t h w 3"]
  audio: Float32[np.ndarray, "s 2"]
  truth: Truth


def make_clip(
  name: ClipName,
  *,
  framing: str = "close",
  fps: int | Fraction = 10,
  seconds: Number | None = None,
  start_seconds: Number = 0.0,
  frame_size: int | None = None,
  look: str = "figures",
  delay_beats: int = 0,
) -> GeneratedClip:
  """Generates the frames, the sound and the truth of one clip.

  Args:
    name: determines the dancer, the dance, the music and the camera.
    framing: "close" (square, the dancer fills it) or "aist" (16:9, the whole stage).
    fps: frames per second.
    seconds: length; None for the rest of the sequence.
    start_seconds: position in the sequence at which the clip begins.
    frame_size: width in pixels; 128 for `close` and 256 for `aist` if None.
    look: one of `film.LOOKS`.
    delay_beats: of the dance after its music; until then the dancer stands.

  Raises:
    UserError: the dancer belongs to another genre, there is no such camera, the clip
      exceeds its sequence, or rate, delay, framing, size or look is invalid.
  """
  if name.situation not in SITUATIONS:
    raise UserError(
      f"{name}: there are no dances of situation {name.situation}, only of "
      f"{' and '.join(SITUATIONS)}."
    )
  if name.dancer not in DANCERS[name.genre]:
    raise UserError(
      f"{name}: {name.dancer} does not dance {name.genre}; "
      f"those who do: {', '.join(DANCERS[name.genre])}."
    )
  if name.music[1:3] != name.genre:
    raise UserError(f"{name}: the music {name.music} is not of genre {name.genre}.")
  if not 0 < fps <= _MAX_FPS:
    raise UserError(f"fps={fps} must be above 0 and at most {_MAX_FPS}.")
  if delay_beats < 0:
    raise UserError(f"delay_beats={delay_beats} must be 0 or more.")
  dance = Choreography(name)
  delay = delay_beats * dance.beat_seconds
  length = dance.seconds + delay
  if seconds is None:
    seconds = length - start_seconds
  # With a tolerance of 1 ms, because 8 s at 120 bpm are a whole basic dance.
  fits = start_seconds + seconds <= length + 1e-3
  if not (start_seconds >= 0 and seconds > 0 and fits):  # nor if one is not a number
    raise UserError(
      f"{name}: the sequence lasts {length:.2f} s; it has no clip of "
      f"{float(seconds):.2f} s from {float(start_seconds):.2f} s on."
    )
  num_frames = max(int(seconds * fps + 1e-3), 1)
  times = resample_times(num_frames, fps, start_seconds)
  filmed = film(look, name, dance.poses(times - delay), framing, frame_size)
  start, span = float(start_seconds), num_frames / float(fps)
  beats = np.arange(-1, dance.num_beats + delay_beats + 2) * dance.beat_seconds
  truth = Truth(
    fps=float(fps),
    beats=slice_beats(beats, start, span),
    joints3d=filmed.joints3d,
    joints2d=filmed.joints2d,
    part_map=filmed.part_map,
    part_pose=filmed.part_pose,
    surfaces=filmed.surfaces,
  )
  audio = music.render_music(name.music, start, span)
  return GeneratedClip(filmed.frames, audio, truth)


def write_clip(
  name: ClipName,
  folder: str | pathlib.Path,
  *,
  framing: str = "close",
  fps: int | Fraction = 10,
  seconds: Number | None = None,
  start_seconds: Number = 0.0,
  frame_size: int | None = None,
  look: str = "figures",
  delay_beats: int = 0,
) -> pathlib.Path:
  """Writes NAME.mp4, NAME.wav and NAME.truth.npz to `folder`, which must exist.

  The other arguments and the errors are those of `make_clip`. The video is written
  last, so that none is without the others.

  Returns:
    The path of the mp4.
  """
  clip = make_clip(
    name,
    framing=framing,
    fps=fps,
    seconds=seconds,
    start_seconds=start_seconds,
    frame_size=frame_size,
    look=look,
    delay_beats=delay_beats,
  )
  return _write(clip, name, pathlib.Path(folder), fps)


def _write(
  clip: GeneratedClip, name: ClipName, folder: pathlib.Path, fps: int | Fraction
) -> pathlib.Path:
  if not folder.is_dir():
    raise UserError(f"{folder}: no such folder; create it first.")
  path = folder / f"{name}.mp4"
  clip.truth.save(folder / f"{name}.truth.npz")
  write_wav(folder / f"{name}.wav", clip.audio)
  writer.write_video(path, clip.frames, fps, clip.audio, music.SAMPLE_RATE)
  return path


def write_wav(path: str | pathlib.Path, audio: Float32[np.ndarray, "s 2"]) -> None:
  """Writes 16-bit stereo at 44.1 kHz, whole or not at all."""
  sound = music.to_int16(audio).astype("<i2").tobytes()
  with files.whole_file(path) as whole, wave.open(str(whole), "wb") as file:
    file.setnchannels(2)
    file.setsampwidth(2)
    file.setframerate(music.SAMPLE_RATE)
    file.writeframes(sound)


def frame_rate(text: str) -> Fraction:
  """Parses frames per second such as `10` or `60000/1001`, as a `type` of argparse."""
  try:
    rate = Fraction(text)
  except (ValueError, ZeroDivisionError):
    raise argparse.ArgumentTypeError(
      f"must be a number, such as 10 or 60000/1001, not {text[:20]}"
    ) from None
  if not 1 <= rate <= _MAX_FPS:
    raise argparse.ArgumentTypeError(f"must be from 1 to {_MAX_FPS}, not {text}")
  return rate


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the command."""
  parser = cli.make_parser("data_pipeline.synthdance.generate", __doc__)
  add = parser.add_argument
  add("--name", required=True, help="AIST name of the clip")
  add("--output", type=cli.path, required=True, help="folder to write to")
  add("--framing", choices=FRAMINGS, default="close")
  add("--look", choices=LOOKS, default="figures")
  add("--fps", type=frame_rate, default="10", help="such as 10 or 60000/1001")
  add("--seconds", type=cli.positive_float, help="default: the whole dance")
  args = parser.parse_args(argv)
  with cli.one_line_errors("generate"):
    name = ClipName.parse(args.name)
    clip = make_clip(
      name,
      framing=args.framing,
      fps=args.fps,
      seconds=args.seconds,
      look=args.look,
    )
    folder = pathlib.Path(args.output)
    folder.mkdir(parents=True, exist_ok=True)
    path = _write(clip, name, folder, args.fps)
    writer.write_image(path.with_suffix(".png"), clip.frames[0])
    print(path)


if __name__ == "__main__":
  main()
