r"""How a dance to a whole song holds: a row for each part of it, from first to last.

  python -m benchmarks.songs --pictures=DIR --output=DIR [--num_pictures=4]

Pictures of people dance to held-out generated songs, each to one of its own, drawn as
`sample` draws by default, at the rate of the motion. Poses are found by BlazePose in
the finished frames. A dance that drifts would leave its place or change its size, and
one that tires would slow down or leave the beat. DIR/NAME.png shows frames of each,
evenly spaced.
"""

import argparse
import dataclasses
import itertools
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
import tqdm
from jaxtyping import Bool, Float, UInt8

from benchmarks.people import limb_spread
from dabfusion_jax.evaluation.reading.blazepose import BlazePose
from dabfusion_jax.evaluation.reading.poses import JOINTS
from dabfusion_jax.evaluation.reporting import markdown
from dabfusion_jax.evaluation.scoring.aggregate import standard_error, with_error
from dabfusion_jax.inference import dance_files
from dabfusion_jax.inference.dance import DanceStream
from dabfusion_jax.inference.pairs import PICTURE_SUFFIXES
from dabfusion_jax.metrics.alignment import mm_align
from dabfusion_jax.metrics.motion import joint_speed
from dabfusion_jax.pipeline import DancePipeline
from dabfusion_jax.storage import saved_stage
from data_pipeline import cli
from data_pipeline.aist import held_out_tracks
from data_pipeline.errors import UserError
from data_pipeline.media import writer
from data_pipeline.synthdance import music
from data_pipeline.synthdance.generate import write_wav

_HIPS = [JOINTS.index("left_hip"), JOINTS.index("right_hip")]
_SHOULDERS = [JOINTS.index("left_shoulder"), JOINTS.index("right_shoulder")]
_SHOWN = 40  # frames of a contact sheet


@dataclasses.dataclass(frozen=True)
class Measured:
  """Measurements of a part of a dance; see `ROWS`."""

  found: float
  align: float | None
  shifted: float | None
  speed: float
  aside: float
  above: float
  trunk: float
  spread: float


# Field of `Measured` -> label.
ROWS = {
  "found": "frames in which the pose detector finds the person",
  "align": "2D-MM Align by pose, beats of the dance",
  "shifted": "the same, beats half an interval later (null)",
  "speed": "mean speed of joints [trunks/s]",
  "aside": "mean place of the hips beside that in the picture [trunks]",
  "above": "the same, above it [trunks]",
  "trunk": "length of the trunk, of that in the picture",
  "spread": "spread of limb lengths",
}


def measure(
  joints: Float[np.ndarray, "t 13 2"],
  visible: Bool[np.ndarray, "t 13"],
  still: Float[np.ndarray, "13 2"],
  beats: Float[np.ndarray, "n"],
  fps: float,
) -> Measured:
  """Measures a part of a dance.

  Args:
    joints: by frame, in pixels.
    visible: which of them were found.
    still: the joints of the picture.
    beats: in seconds from the start of the part, one beyond either end.
    fps: frames per second.
  """
  period = float(np.median(np.diff(beats)))
  unit = _trunk(still)
  whole = visible[:, _HIPS + _SHOULDERS].all(1)
  moved = joints[whole][:, _HIPS].mean((0, 1)) - still[_HIPS].mean(0)
  return Measured(
    found=float(visible.any(1).mean()),
    align=mm_align(joints, visible, beats, fps).value,
    shifted=mm_align(joints, visible, beats + period / 2, fps).value,
    speed=float(np.nanmean(joint_speed(joints, visible))) * fps / unit,
    aside=float(moved[0]) / unit,
    above=-float(moved[1]) / unit,
    trunk=float(np.mean([_trunk(pose) for pose in joints[whole]])) / unit,
    spread=limb_spread(joints, visible),
  )


def _trunk(pose: Float[np.ndarray, "13 2"]) -> float:
  return float(np.linalg.norm(pose[_SHOULDERS].mean(0) - pose[_HIPS].mean(0)))


def parts_of(
  dance: DanceStream, num_frames: int
) -> Iterator[UInt8[np.ndarray, "t h w 3"]]:
  """Yields the frames of a dance, so many at once; a rest is left out."""
  kept: list[np.ndarray] = []
  for part in dance.parts:
    kept.append(part.frames)
    while sum(map(len, kept)) >= num_frames:
      frames = np.concatenate(kept)
      yield frames[:num_frames]
      kept = [frames[num_frames:]]


def beats_between(
  beats: Float[np.ndarray, "n"], first: float, last: float
) -> Float[np.ndarray, "m"]:
  """Returns the beats between two times, from the first, with one beyond either end."""
  low = max(np.searchsorted(beats, first) - 1, 0)
  high = np.searchsorted(beats, last) + 1
  return beats[low:high] - first


def measure_dance(
  dance: DanceStream, pose: BlazePose, part_seconds: float, sheet: pathlib.Path
) -> list[Measured]:
  """Measures the parts of a dance, and writes a contact sheet."""
  (still,), _ = pose("", lambda: dance.still[None])
  beats = np.asarray(dance.settings["beat_times"])
  size = round(part_seconds * dance.fps)
  measured, shown = [], []
  every = max(1, dance.num_frames // _SHOWN)
  for number, frames in enumerate(parts_of(dance, size)):
    joints, visible = pose("", lambda frames=frames: frames)
    start, seconds = number * size / dance.fps, size / dance.fps
    inside = beats_between(beats, start, start + seconds)
    measured.append(measure(joints, visible, still, inside, dance.fps))
    # Copies: views would keep all frames.
    shown += [frames[i].copy() for i in range(-number * size % every, size, every)]
  writer.write_image(sheet, dance_files.contact_sheet(np.stack(shown)))
  return measured


def run(args: argparse.Namespace) -> None:
  """Makes all dances, and prints the table."""
  files = sorted(args.pictures.iterdir())
  pictures = [p for p in files if p.suffix.lower() in PICTURE_SUFFIXES]
  if not pictures:
    raise UserError(f"{args.pictures} holds no pictures.")
  if args.seconds < args.part_seconds:
    raise UserError("A dance is at least one part: --seconds >= --part_seconds.")
  args.output.mkdir(parents=True, exist_ok=True)
  pipe = DancePipeline.from_pretrained(args.checkpoint or saved_stage.PEOPLE)
  pose, parts = BlazePose(), []
  pairs = list(
    zip(pictures[: args.num_pictures], itertools.cycle(sorted(held_out_tracks())))
  )
  for number, (picture, track) in enumerate(tqdm.tqdm(pairs)):
    song = args.output / f"{track}.wav"
    write_wav(song, music.render_music(track, 0.0, args.seconds))
    dance = pipe.stream(
      picture, song, seed=number, duration=args.seconds, fps=int(pipe.fps), size=256
    )
    sheet = args.output / f"{picture.stem}.png"
    parts.append(measure_dance(dance, pose, args.part_seconds, sheet))
  starts = [f"{args.part_seconds * i:g} s" for i in range(len(parts[0]))]
  print(f"n = {len(parts)} dances; parts of {args.part_seconds:g} s from")
  rows = [
    [
      label,
      *(_cell([getattr(m, field) for m in part]) for part in zip(*parts, strict=True)),
    ]
    for field, label in ROWS.items()
  ]
  print(markdown.table(["measure", *starts], rows))


def _cell(values: Sequence[float | None]) -> str:
  known = np.array([v for v in values if v is not None and np.isfinite(v)], np.float64)
  if not len(known):
    return "none"
  value = with_error(float(known.mean()), standard_error(known))
  return value if len(known) == len(values) else f"{value} (n {len(known)})"


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the program."""
  parser = cli.make_parser("benchmarks.songs", __doc__)
  add = parser.add_argument
  add("--pictures", type=pathlib.Path, required=True)
  add("--output", type=cli.local_path, required=True)
  add("--checkpoint", type=cli.path)
  add("--num_pictures", type=cli.positive_int, default=4)
  add("--seconds", type=cli.positive_float, default=240.0)
  add("--part_seconds", type=cli.positive_float, default=30.0)
  args = parser.parse_args(argv)
  with cli.one_line_errors("songs"):
    run(args)


if __name__ == "__main__":
  main()
