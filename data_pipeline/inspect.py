r"""Shows what is in a data set, how it looks, and whether its beats are right.

  python -m data_pipeline.inspect data/synthdance_demo

prints the number of clips by split, genre, camera, track and dancer, and writes to
`DIR/inspect` (or --output):

  sheet.png  one row of eight frames per clip, with the name of the clip above it
  NAME.mp4   one clip with its sound; every beat is a click and a white edge
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw
from jaxtyping import Float32, Float64, UInt8

from data_pipeline import cli, files
from data_pipeline.errors import UserError
from data_pipeline.media import writer
from data_pipeline.media.pcm import int16_to_sound
from data_pipeline.music.beats import beat_vector
from data_pipeline.records import clip_record, loader
from data_pipeline.records.clip_record import Record
from data_pipeline.records.picks import even_indices

MIN_VIDEO_SIZE = 256  # pixels; smaller clips are enlarged by an integer factor
_CLICK_SECONDS = 0.03
_CLICK_HZ = 1500.0
_EDGE = 1 / 16  # width of the white edge, as a fraction of the picture
_CAPTION_HEIGHT = 14  # pixels
_MAX_LISTED = 30  # values per kind


def describe(manifest: Mapping[str, Any]) -> str:
  """Returns the settings and counts of a data set, one line per kind and split."""
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
        listed = [f"{key or 'unknown'} {n}" for key, n in numbers.items()]
        if len(listed) > _MAX_LISTED:
          listed[_MAX_LISTED:] = [f"and {len(listed) - _MAX_LISTED} more"]
        lines.append(f"  {kind}: {', '.join(listed)}")
  report = manifest.get("report")
  if report:
    lines.append(f"report: {', '.join(f'{n} {key}' for key, n in report.items())}")
  return "\n".join(lines)


def make_sheet(clips: Sequence[Record], columns: int = 8) -> UInt8[np.ndarray, "h w 3"]:
  """Draws one row per clip: evenly spaced frames below the name of the clip."""
  strips = []
  for clip in clips:
    frames = clip["frames"]
    row = np.concatenate(list(frames[even_indices(len(frames), columns)]), axis=1)
    words = (f"{clip['name']}.{clip['window']}", clip["genre"], clip["track"])
    caption = _caption("  ".join(word for word in words if word), row.shape[1])
    strips += [caption, row]
  return np.concatenate(strips)


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
  """Marks the beats in picture and sound, to show whether they belong together.

  Returns:
    The enlarged frames with a white edge on beats, and the sound with clicks.
  """
  scale = max(1, -(-MIN_VIDEO_SIZE // min(frames.shape[1:3])))
  frames = frames.repeat(scale, axis=1).repeat(scale, axis=2)
  odd = [(0, n % 2) for n in frames.shape[1:3]]  # the sides of a video are even
  frames = np.pad(frames, [(0, 0), *odd, (0, 0)])
  edge = max(1, round(_EDGE * frames.shape[1]))
  is_beat = beat_vector(beat_times, 0.0, len(frames), fps) > 0
  for side in (
    np.s_[:, :edge],
    np.s_[:, -edge:],
    np.s_[:, :, :edge],
    np.s_[:, :, -edge:],
  ):
    view = frames[side]
    view[is_beat] = 255
  length = round(_CLICK_SECONDS * sample_rate)
  time = np.arange(length) / sample_rate
  click = np.sin(2 * np.pi * _CLICK_HZ * time) * np.exp(-time / (_CLICK_SECONDS / 5))
  sound = 0.5 * audio
  for beat in beat_times:
    start = round(beat * sample_rate)
    if 0 <= start < len(sound):
      view = sound[start : start + length]
      view += 0.5 * click[: len(view)].astype(np.float32)
  return frames, sound


def write_clip(
  clip: Record, beat_times: Float64[np.ndarray, "n"], folder: pathlib.Path
) -> pathlib.Path:
  """Writes a clip as a video with its beats marked, and returns its path."""
  fps, sample_rate = clip["fps"], clip["sample_rate"]
  sound = int16_to_sound(clip["audio"])
  frames, sound = mark_beats(clip["frames"], sound, beat_times, fps, sample_rate)
  path = folder / f"{clip['name']}.{clip['window']}.mp4"
  writer.write_video(path, frames, round(fps), sound, sample_rate)
  return path


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the command."""
  parser = cli.make_parser("data_pipeline.inspect", __doc__)
  add = parser.add_argument
  add("data", type=cli.path, help="output of data_pipeline.build")
  add("--output", type=cli.local_path, help="folder; default: DIR/inspect")
  add("--split", help="default: train, if there is one")
  add("--clip", type=cli.natural_int, default=0, help="index of the clip in the video")
  add("--beats", choices=list(clip_record.BEATS), help=(
    "default: the tracked ones"))  # fmt: skip
  add("--rows", type=cli.positive_int, default=12, help="number of clips on the sheet")
  args = parser.parse_args(argv)
  with cli.one_line_errors("inspect"):
    manifest = loader.read_manifest(args.data)
    print(describe(manifest))
    splits = sorted(manifest["counts"])
    split = args.split or ("train" if "train" in splits else splits[0])
    clips = loader.open_clips(args.data, split, beats=args.beats)
    if args.clip >= len(clips):
      raise UserError(
        f"There is no clip {args.clip}; {split} has 0 to {len(clips) - 1}."
      )
    if args.output is None and files.is_remote(args.data):
      raise UserError(f"{args.data} is remote; name a local folder with --output.")
    folder = args.output or pathlib.Path(args.data) / "inspect"
    folder.mkdir(parents=True, exist_ok=True)
    sheet = make_sheet([clips[i] for i in even_indices(len(clips), args.rows)])
    writer.write_image(folder / "sheet.png", sheet)
    clip = clips[args.clip]
    path = write_clip(
      clip, clip[clip_record.BEATS[args.beats or manifest["beats"][0]]], folder
    )
  print(f"{folder / 'sheet.png'}\n{path}")


if __name__ == "__main__":
  main()
