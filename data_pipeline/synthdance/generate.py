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

from data_pipeline import cli
from data_pipeline.aist import DANCERS, SITUATIONS, ClipName
from data_pipeline.errors import UserError
from data_pipeline.media import writer
from data_pipeline.media.framing import Number, resample_times
from data_pipeline.music.beats import slice_beats
from data_pipeline.synthdance import music
from data_pipeline.synthdance.body import coco_joints, dancer, pose_skeleton
from data_pipeline.synthdance.choreography import Choreography, seed
from data_pipeline.synthdance.renderer import render
from data_pipeline.synthdance.studio import FRAMINGS, make_camera
from data_pipeline.synthdance.truth import Truth


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
) -> GeneratedClip:
  """Generates the frames, the sound and the truth of one clip.

  Args:
    name: determines the dancer, the dance, the music and the camera.
    framing: "close" (square, the dancer fills it) or "aist" (16:9, the whole stage).
    fps: frames per second.
    seconds: length; None for the rest of the sequence.
    start_seconds: position in the sequence at which the clip begins.
    frame_size: width in pixels; 128 for `close` and 256 for `aist` if None.

  Raises:
    UserError: the dancer belongs to another genre, there is no such camera, the clip
      exceeds its sequence, or the framing or size is invalid.
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
  dance = Choreography(name)
  if seconds is None:
    seconds = dance.seconds - start_seconds
  # With a tolerance of 1 ms, because 8 s at 120 bpm are a whole basic dance.
  if (
    start_seconds < 0 or seconds <= 0 or start_seconds + seconds > dance.seconds + 1e-3
  ):
    raise UserError(
      f"{name}: the sequence lasts {dance.seconds:.2f} s; it has no clip of "
      f"{float(seconds):.2f} s from {float(start_seconds):.2f} s on."
    )
  num_frames = max(int(seconds * fps + 1e-3), 1)
  times = resample_times(num_frames, fps, start_seconds)
  performer = dancer(name.dancer)
  poses = dance.poses(times)
  skeleton = pose_skeleton(poses, performer)
  camera = make_camera(name.camera, framing, performer.height, frame_size)
  rendering = render(skeleton, performer, camera, _exposure(name))
  joints = coco_joints(skeleton)
  start, length = float(start_seconds), num_frames / float(fps)
  beats = np.arange(-1, dance.num_beats + 2) * dance.beat_seconds
  truth = Truth(
    fps=float(fps),
    beats=slice_beats(beats, start, length),
    joints3d=joints.astype(np.float32),
    joints2d=camera.project(joints)[..., :2].astype(np.float32),
    part_map=rendering.part_map,
    part_pose=rendering.part_pose,
  )
  audio = music.render_music(name.music, start, length)
  return GeneratedClip(rendering.frames, audio, truth)


def _exposure(name: ClipName) -> tuple[float, float, float]:
  """Draws the exposure of a video: slightly brighter or darker, warmer or cooler."""
  rng = np.random.default_rng(seed("exposure", str(name)))
  light, warm = rng.uniform(0.90, 1.0), rng.uniform(-0.02, 0.02)
  return light * (1 + warm), light, light * (1 - warm)


def write_clip(
  name: ClipName,
  folder: str | pathlib.Path,
  *,
  framing: str = "close",
  fps: int | Fraction = 10,
  seconds: Number | None = None,
  start_seconds: Number = 0.0,
  frame_size: int | None = None,
) -> pathlib.Path:
  """Writes NAME.mp4 and NAME.truth.npz to `folder`, which must exist.

  The other arguments and the errors are those of `make_clip`. The truth is written
  first, so that no video is without it.

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
  )
  return _write(clip, name, pathlib.Path(folder), fps)


def _write(
  clip: GeneratedClip, name: ClipName, folder: pathlib.Path, fps: int | Fraction
) -> pathlib.Path:
  if not folder.is_dir():
    raise UserError(f"{folder}: no such folder; create it first.")
  path = folder / f"{name}.mp4"
  clip.truth.save(folder / f"{name}.truth.npz")
  writer.write_video(path, clip.frames, fps, clip.audio, music.SAMPLE_RATE)
  return path


def write_wav(path: str | pathlib.Path, audio: Float32[np.ndarray, "s 2"]) -> None:
  """Writes 16-bit stereo at 44.1 kHz."""
  with wave.open(str(path), "wb") as file:
    file.setnchannels(2)
    file.setsampwidth(2)
    file.setframerate(music.SAMPLE_RATE)
    file.writeframes(music.to_int16(audio).astype("<i2").tobytes())


def frame_rate(text: str) -> Fraction:
  """Parses frames per second such as `10` or `60000/1001`, as a `type` of argparse."""
  try:
    rate = Fraction(text)
  except ZeroDivisionError:
    raise argparse.ArgumentTypeError(f"{text} divides by zero") from None
  if not 1 <= rate <= 240:
    raise argparse.ArgumentTypeError(f"must be from 1 to 240, not {text}")
  return rate


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the command."""
  parser = cli.make_parser("data_pipeline.synthdance.generate", __doc__)
  add = parser.add_argument
  add("--name", required=True, help="AIST name of the clip")
  add("--output", type=cli.path, required=True, help="folder to write to")
  add("--framing", choices=FRAMINGS, default="close")
  add("--fps", type=frame_rate, default="10", help="such as 10 or 60000/1001")
  add("--seconds", type=cli.positive_float, help="default: the whole dance")
  args = parser.parse_args(argv)
  with cli.one_line_errors("generate"):
    name = ClipName.parse(args.name)
    clip = make_clip(name, framing=args.framing, fps=args.fps, seconds=args.seconds)
    folder = pathlib.Path(args.output)
    folder.mkdir(parents=True, exist_ok=True)
    path = _write(clip, name, folder, args.fps)
    write_wav(path.with_suffix(".wav"), clip.audio)
    writer.write_image(path.with_suffix(".png"), clip.frames[0])
    print(path)


if __name__ == "__main__":
  main()
