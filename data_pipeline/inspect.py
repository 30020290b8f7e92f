r"""Looks at a data set: what is in it, how it looks, and whether its beats are right.

  python -m data_pipeline.inspect data/synthdance_demo

prints counts by split, genre, camera, track and dancer, and writes beside them into
`DIR/inspect` (or --output):

  sheet.png  eight frames of each of some clips, one clip a row below its name
  NAME.mp4   one clip with its sound: every beat is a click and a white frame's edge
"""

import argparse
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw
from jaxtyping import Float32, Float64, UInt8

from data_pipeline import files
from data_pipeline.cli import one_line_errors
from data_pipeline.errors import UserError
from data_pipeline.media import writer
from data_pipeline.music.beats import beat_vector
from data_pipeline.records import loader

MIN_VIDEO_SIZE = 256  # pixels; smaller clips are enlarged by whole numbers
_CLICK_SECONDS = 0.03
_CLICK_HZ = 1500.0
_EDGE = 1 / 16  # of the picture, white on a beat
_CAPTION_HEIGHT = 14  # pixels
_MAX_LISTED = 30  # values of one kind


def describe(manifest: Mapping[str, Any]) -> str:
  """Counts of a data set, one line for each kind in each split."""
  settings = manifest["settings"]
  lines = [
    f"{settings['num_frames']} frames at {settings['fps']} fps, "
    f"{settings['frame_size']} pixels, {settings['framing']}, music by "
    f"{settings['encoder']['name']}, beats by {' and '.join(manifest['beats'])}"
  ]
  for split, counts in sorted(manifest["counts"].items()):
    minutes = counts["clips"] * settings["num_frames"] / settings["fps"] / 60
    lines.append(f"{split}: {counts['clips']} clips, {minutes:.1f} minutes")
    for kind, numbers in counts.items():
      if kind != "clips":
        parts = [f"{key or 'unknown'} {n}" for key, n in numbers.items()]
        if len(parts) > _MAX_LISTED:
          parts[_MAX_LISTED:] = [f"and {len(parts) - _MAX_LISTED} more"]
        lines.append(f"  {kind}: {', '.join(parts)}")
  report = manifest.get("report")
  if report:
    lines.append(f"report: {', '.join(f'{n} {key}' for key, n in report.items())}")
  return "\n".join(lines)


def make_sheet(
  clips: Sequence[Mapping[str, Any]], columns: int = 8
) -> UInt8[np.ndarray, "h w 3"]:
  """A picture with one clip in every row, its frames evenly spread, its name above."""
  rows = []
  for clip in clips:
    frames = clip["frames"]
    chosen = np.linspace(0, len(frames) - 1, columns).round().astype(int)
    row = np.concatenate(list(frames[chosen]), axis=1)
    words = (f"{clip['name']}.{clip['window']}", clip["genre"], clip["track"])
    rows += [_caption("  ".join(word for word in words if word), row.shape[1]), row]
  return np.concatenate(rows)


def _caption(text: str, width: int) -> UInt8[np.ndarray, "h w 3"]:
  strip = PIL.Image.new("RGB", (width, _CAPTION_HEIGHT), "black")
  PIL.ImageDraw.Draw(strip).text((3, 1), text, "white")
  return np.asarray(strip)


def mark_beats(
  frames: UInt8[np.ndarray, "t h w 3"],
  audio: Float32[np.ndarray, "s"],
  beat_times: Float64[np.ndarray, "n"],
  fps: float,
  sample_rate: int,
) -> tuple[UInt8[np.ndarray, "t h2 w2 3"], Float32[np.ndarray, "s"]]:
  """Adds what shows whether picture, sound and beats belong together.

  Returns:
    Frames with a white edge on beats, and the sound with a click on each.
  """
  scale = max(1, -(-MIN_VIDEO_SIZE // min(frames.shape[1:3])))
  frames = frames.repeat(scale, axis=1).repeat(scale, axis=2)
  edge = max(1, round(_EDGE * frames.shape[1]))
  flash = beat_vector(beat_times, 0.0, len(frames), fps) > 0
  for rows in (
    np.s_[:, :edge],
    np.s_[:, -edge:],
    np.s_[:, :, :edge],
    np.s_[:, :, -edge:],
  ):
    view = frames[rows]
    view[flash] = 255
  length = round(_CLICK_SECONDS * sample_rate)
  time = np.arange(length) / sample_rate
  click = np.sin(2 * np.pi * _CLICK_HZ * time) * np.exp(-time / (_CLICK_SECONDS / 5))
  sound = 0.5 * audio
  for beat in beat_times:
    start = round(beat * sample_rate)
    if 0 <= start < len(sound):
      part = sound[start : start + length]
      part += 0.5 * click[: len(part)].astype(np.float32)
  return frames, sound


def write_clip(
  clip: Mapping[str, Any], beat_times: Float64[np.ndarray, "n"], folder: pathlib.Path
) -> pathlib.Path:
  """Writes a record as a video with its beats; returns its path."""
  fps = clip["fps"]
  frames, sound = mark_beats(
    clip["frames"],
    clip["audio"].astype(np.float32) / 32767,
    beat_times,
    fps,
    clip["sample_rate"],
  )
  path = folder / f"{clip['name']}.{clip['window']}.mp4"
  writer.write_video(path, frames, round(fps), sound, clip["sample_rate"])
  return path


def main(argv: Sequence[str] | None = None) -> None:
  parser = argparse.ArgumentParser(
    prog="python -m data_pipeline.inspect",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument("data", help="output of data_pipeline.build")
  parser.add_argument("--output", type=pathlib.Path, help="folder; DIR/inspect")
  parser.add_argument("--split", help="train, if there is one")
  parser.add_argument("--clip", type=int, default=0, help="number of the clip to hear")
  parser.add_argument("--beats", choices=list(loader.BEATS), default="librosa")
  parser.add_argument("--rows", type=int, default=12, help="clips of the sheet")
  args = parser.parse_args(argv)
  with one_line_errors("inspect"):
    manifest = loader.read_manifest(args.data)
    print(describe(manifest))
    splits = sorted(manifest["counts"])
    split = args.split or ("train" if "train" in splits else splits[0])
    clips = loader.open_clips(args.data, split, beats=args.beats)
    if not 0 <= args.clip < len(clips):
      raise UserError(f"No clip {args.clip}; {split} has 0 to {len(clips) - 1}.")
    if args.output is None and files.is_remote(args.data):
      raise UserError(f"Name an --output folder here; {args.data} is not changed.")
    folder = args.output or pathlib.Path(args.data) / "inspect"
    folder.mkdir(parents=True, exist_ok=True)
    chosen = np.linspace(0, len(clips) - 1, min(max(args.rows, 1), len(clips)))
    sheet = make_sheet([clips[round(i)] for i in chosen])
    writer.write_image(folder / "sheet.png", sheet)
    clip = clips[args.clip]
    path = write_clip(clip, clip[loader.BEATS[args.beats]], folder)
  print(f"{folder / 'sheet.png'}\n{path}")


if __name__ == "__main__":
  main()
