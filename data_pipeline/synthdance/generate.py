r"""Writes generated dance videos, with their music and what is known about them.

  python -m data_pipeline.synthdance.generate --name=gLO_sBM_c01_d13_mLO3_ch02 \
    --framing=close --output=DIR

writes NAME.mp4, NAME.truth.npz, NAME.png (the first frame) and NAME.wav (the music).
Frames and sound follow from the name alone: same name, same bytes.
"""

import argparse
import dataclasses
import pathlib
import wave
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from jaxtyping import Float32

from data_pipeline.aist import DANCERS, SITUATIONS, ClipName
from data_pipeline.cli import one_line_errors
from data_pipeline.errors import UserError
from data_pipeline.media import writer
from data_pipeline.media.framing import resample_times
from data_pipeline.synthdance import music
from data_pipeline.synthdance.body import coco_joints, dancer, pose_skeleton
from data_pipeline.synthdance.choreography import Choreography, seed
from data_pipeline.synthdance.presets import ClipSpec as ClipSpec
from data_pipeline.synthdance.presets import clips_of_preset as clips_of_preset
from data_pipeline.synthdance.renderer import render
from data_pipeline.synthdance.studio import FRAMINGS, make_camera
from data_pipeline.synthdance.truth import Truth

Number = int | float | Fraction


@dataclasses.dataclass(frozen=True)
class Clip:
  """A generated video before any codec saw it."""

  frames: np.ndarray  # uint8 [t, h, w, 3]
  audio: Float32[np.ndarray, "s 2"]  # at music.SAMPLE_RATE
  truth: Truth


def make_clip(
  name: ClipName,
  *,
  framing: str = "close",
  fps: int | Fraction = 10,
  seconds: Number | None = None,
  start_seconds: Number = 0.0,
  frame_size: int | None = None,
) -> Clip:
  """Dances, films and plays one clip.

  Args:
    name: who dances what to which music, seen by which camera.
    framing: "close" (square, the dancer fills it) or "aist" (16:9, the whole stage).
    fps: frames a second.
    seconds: length; None for the rest of the sequence.
    start_seconds: where in the sequence the clip begins.
    frame_size: width in pixels; 128 for `close` and 256 for `aist` if None.

  Raises:
    ValueError: a dancer of another genre, a camera that is none, a clip that does not
      lie within its sequence, a bad framing or size.
  """
  if name.situation not in SITUATIONS:
    raise UserError(
      f"{name}: no dances of situation {name.situation}; "
      f"there are {' and '.join(SITUATIONS)}."
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
  # A millisecond of grace: 8 s at 120 bpm is the whole of a basic dance.
  if (
    start_seconds < 0 or seconds <= 0 or start_seconds + seconds > dance.seconds + 1e-3
  ):
    raise UserError(
      f"{name}: the sequence lasts {dance.seconds:.2f} s; it holds no clip of "
      f"{float(seconds):.2f} s from {float(start_seconds):.2f} s on."
    )
  num_frames = max(int(seconds * fps + 1e-3), 1)
  times = resample_times(num_frames, fps, start_seconds)
  performer = dancer(name.dancer)
  poses = dance.poses(times)
  skeleton = pose_skeleton(poses, performer)
  camera = make_camera(name.camera, framing, performer.height, frame_size)
  film = render(skeleton, performer, camera, _exposure(name))
  joints = coco_joints(skeleton)
  end = float(start_seconds) + num_frames / float(fps)
  truth = Truth(
    fps=float(fps),
    beats=_within(np.arange(-1, dance.num_beats + 2) * dance.beat_seconds,
                  float(start_seconds), end),
    hits=dance.hits[(dance.hits >= start_seconds) & (dance.hits < end)]
    - float(start_seconds),
    joints3d=joints.astype(np.float32),
    joints2d=camera.project(joints)[..., :2].astype(np.float32),
    planted=poses.planted,
    part_map=film.part_map,
    part_pose=film.part_pose,
  )  # fmt: skip
  audio = music.render_music(name.music, float(start_seconds), num_frames / float(fps))
  return Clip(film.frames, audio, truth)


def _within(beats: np.ndarray, start: float, end: float) -> np.ndarray:
  """Beats of [start, end) and one more on either side, from `start` on."""
  first = int(np.searchsorted(beats, start, "left"))
  last = int(np.searchsorted(beats, end, "left"))
  return beats[max(first - 1, 0) : last + 1] - start


def _exposure(name: ClipName) -> tuple[float, float, float]:
  """Every film is a little brighter or darker, warmer or cooler."""
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
  """Writes NAME.mp4 and NAME.truth.npz into `folder`, which must exist.

  Arguments and errors are those of `make_clip`. The truth is written first, so a video
  is never without it.

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
  clip: Clip, name: ClipName, folder: pathlib.Path, fps: int | Fraction
) -> pathlib.Path:
  if not folder.is_dir():
    raise UserError(f"{folder}: no such folder; create it first.")
  path = folder / f"{name}.mp4"
  clip.truth.save(folder / f"{name}.truth.npz")
  writer.write_video(path, clip.frames, fps, clip.audio, music.SAMPLE_RATE)
  return path


def write_wav(path: str | pathlib.Path, audio: Float32[np.ndarray, "s 2"]) -> None:
  """16-bit stereo at 44.1 kHz."""
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
  parser = argparse.ArgumentParser(
    prog="python -m data_pipeline.synthdance.generate",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument("--name", required=True, help="AIST name of the clip")
  parser.add_argument("--output", required=True, help="folder to write to")
  parser.add_argument("--framing", choices=FRAMINGS, default="close")
  parser.add_argument(
    "--fps", type=frame_rate, default="10", help="such as 10 or 60000/1001"
  )
  parser.add_argument("--seconds", type=float, help="default: the whole dance")
  args = parser.parse_args(argv)
  with one_line_errors("generate"):
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
