r"""How well pictures of people dance: a row per measure, and contact sheets to look at.

  python -m benchmarks.people --pictures=DIR --music=DIR --films=DIR --output=DIR

Each picture dances to the first --num_songs songs, drawn as `sample` draws by default.
Poses are found by BlazePose, which is given the finished frames only. Limb lengths are
compared with those of real film, cut to clips of the same length and rate; --films may
be left out. DIR/NAME.SONG.png are the contact sheets.
"""

import argparse
import dataclasses
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float, UInt8

from benchmarks.timed_painter import timed_painters
from dabfusion_jax.evaluation.reading.blazepose import BlazePose
from dabfusion_jax.evaluation.reading.poses import JOINTS
from dabfusion_jax.evaluation.scoring.aggregate import standard_error, with_error
from dabfusion_jax.inference import layers
from dabfusion_jax.inference.dance import Dance
from dabfusion_jax.inference.pairs import PICTURE_SUFFIXES
from dabfusion_jax.metrics.alignment import chance_level, mm_align
from dabfusion_jax.pipeline import DancePipeline
from dabfusion_jax.storage import saved_stage
from data_pipeline import cli
from data_pipeline.errors import UserError
from data_pipeline.media import reader
from data_pipeline.media.framing import nearest_frames, resample_times
from data_pipeline.sources.base import SONG_SUFFIXES

_LIMBS = tuple(
  (JOINTS.index(f"{side}_{first}"), JOINTS.index(f"{side}_{last}"))
  for side in ("left", "right")
  for first, last in (
    ("shoulder", "elbow"),
    ("elbow", "wrist"),
    ("hip", "knee"),
    ("knee", "ankle"),
  )
)
_TRUNK = tuple(
  JOINTS.index(f"{side}_{joint}")
  for joint in ("shoulder", "hip")
  for side in ("left", "right")
)
_ANKLES = (JOINTS.index("left_ankle"), JOINTS.index("right_ankle"))
_BORDER = 0.2  # of the body's height around all joints; outside, nothing may move


@dataclasses.dataclass(frozen=True)
class Measured:
  """Measurements of one dance; see `ROWS`."""

  found: float
  spread: float
  sliding: float
  sharpness: float
  changed: float
  seconds: float
  align: float | None
  shifted: float | None
  shuffled: float | None
  chance: float | None


# Field of `Measured` -> label, and what the issue of the measure asks for.
ROWS = {
  "found": ("frames in which the pose detector finds the person", ">= 0.95"),
  "align": ("2D-MM Align by pose, beats of the dance", ">= 0.40"),
  "shifted": ("the same, beats half an interval later (null)", ""),
  "shuffled": ("the same, beats of the other songs (null)", ""),
  "chance": ("the same, by chance (null)", ""),
  "spread": ("spread of limb lengths over the clip", "<= 1.3 x film"),
  "sliding": ("speed of the lower foot [trunks/s]", ""),
  "sharpness": ("mean gradient inside the person, of the picture's own", ">= 0.7"),
  "changed": ("share of changed pixels away from the person", "0"),
  "seconds": ("drawing, beside sampling [CPU s]", "<= 6 on 2 cores"),
}


def limb_spread(
  joints: Float[np.ndarray, "t 13 2"], visible: Bool[np.ndarray, "t 13"]
) -> float:
  """Returns the standard deviation of limb lengths over their mean, over all limbs."""
  spreads = []
  for first, last in _LIMBS:
    seen = visible[:, first] & visible[:, last]
    length = np.linalg.norm(joints[seen, first] - joints[seen, last], axis=1)
    if len(length) > 1:
      spreads.append(length.std() / length.mean())
  return float(np.mean(spreads)) if spreads else np.nan


def foot_sliding(
  joints: Float[np.ndarray, "t 13 2"], visible: Bool[np.ndarray, "t 13"], fps: float
) -> float:
  """Returns the mean speed of the lower foot, in lengths of the trunk per second."""
  seen = visible[:, [*_TRUNK, *_ANKLES]].all(1)
  shoulders, hips = (joints[:, list(pair)].mean(1) for pair in (_TRUNK[:2], _TRUNK[2:]))
  trunk = np.median(np.linalg.norm(shoulders - hips, axis=1)[seen]) if seen.any() else 1
  feet = joints[:, list(_ANKLES)]
  lower = feet[:-1, :, 1].argmax(1)
  steps = np.linalg.norm(np.diff(feet, axis=0), axis=2)[np.arange(len(lower)), lower]
  both = seen[1:] & seen[:-1]
  return float(steps[both].mean() / trunk * fps) if both.any() else np.nan


def gradient_in(picture: UInt8[np.ndarray, "h w 3"], mask: np.ndarray) -> float:
  """Returns the mean size of the gradient of the grey levels inside a mask."""
  rows, columns = np.gradient(picture.astype(np.float32).mean(-1))
  return float(np.hypot(rows, columns)[mask].mean())


def body_mask(
  joints: Float[np.ndarray, "13 2"], shape: tuple[int, ...]
) -> Bool[np.ndarray, "h w"]:
  """Returns the pixels near the bones between visible joints: inside the body."""
  y, x = np.mgrid[: shape[0], : shape[1]]
  radius = 0.03 * np.ptp(joints[:, 1])
  trunk = ((1, 2), (7, 8), (1, 7), (2, 8), (1, 8), (2, 7))
  mask = np.zeros(shape[:2], bool)
  for first, last in (*_LIMBS, *((a, b) for a, b in trunk)):
    for share in np.linspace(0, 1, 20):
      point = joints[first] + share * (joints[last] - joints[first])
      mask |= np.hypot(x - point[0], y - point[1]) < radius
  return mask


def share_changed(
  frames: UInt8[np.ndarray, "t h w 3"],
  picture: UInt8[np.ndarray, "h w 3"],
  joints: Float[np.ndarray, "t 13 2"],
  visible: Bool[np.ndarray, "t 13"],
) -> float:
  """Returns the share of pixels outside a box around all joints that ever change."""
  points = joints[visible]
  border = _BORDER * np.ptp(points[:, 1])
  low, high = points.min(0) - border, points.max(0) + border
  y, x = np.mgrid[: picture.shape[0], : picture.shape[1]]
  outside = (x < low[0]) | (x > high[0]) | (y < low[1]) | (y > high[1])
  changed = (frames != picture).any((0, 3))
  return float(changed[outside].mean()) if outside.any() else np.nan


def clips_of(
  films: pathlib.Path, num_frames: int, fps: float
) -> Iterator[UInt8[np.ndarray, "t h w 3"]]:
  """Yields the first frames of each film, at the rate of a dance."""
  for path in sorted(films.glob("*.mp4")):
    wanted = resample_times(num_frames, fps, 0.0)
    times = reader.frame_times(path)
    wanted = wanted[wanted < times[-1]]
    frames = reader.read_frames(path, nearest_frames(times, wanted))
    yield np.stack([layers.fit(frame, None) for frame in frames])


def score(
  dance: Dance,
  picture: UInt8[np.ndarray, "h w 3"],
  pose: BlazePose,
  seconds: float,
  other_beats: Sequence[np.ndarray],
) -> Measured:
  """Measures one dance.

  Args:
    dance: the dance.
    picture: as it was drawn at.
    pose: the detector.
    seconds: of CPU that drawing took.
    other_beats: of dances to other songs.
  """
  joints, visible = pose("", lambda: dance.frames)
  still, still_visible = pose("", lambda: picture[None])
  beats = np.asarray(dance.settings["beat_times"])
  period = float(np.median(np.diff(beats)))
  align = lambda times: mm_align(joints, visible, times, dance.fps).value
  shuffled = [align(times) for times in other_beats]
  shuffled = [value for value in shuffled if value is not None]
  sharp = gradient_in(picture, body_mask(still[0], picture.shape))
  moved = [
    gradient_in(dance.frames[t], body_mask(joints[t], picture.shape))
    for t in range(0, len(joints), 5)
    if visible[t].all()
  ]
  return Measured(
    found=float(visible.any(1).mean()),
    spread=limb_spread(joints, visible),
    sliding=foot_sliding(joints, visible, dance.fps),
    sharpness=float(np.mean(moved)) / sharp if moved else np.nan,
    changed=share_changed(dance.frames, picture, joints, visible),
    seconds=seconds,
    align=align(beats),
    shifted=align(beats + period / 2),
    shuffled=float(np.mean(shuffled)) if shuffled else None,
    chance=chance_level(period),
  )


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the measurement."""
  parser = cli.make_parser("benchmarks.people", __doc__)
  add = parser.add_argument
  add("--pictures", type=pathlib.Path, required=True)
  add("--music", type=pathlib.Path, required=True)
  add("--films", type=pathlib.Path)
  add("--output", type=pathlib.Path, required=True)
  add("--checkpoint", type=pathlib.Path, default=None)
  add("--num_songs", type=cli.positive_int, default=3)
  add("--drawing", choices=layers.DRAWINGS)
  args = parser.parse_args(argv)
  with cli.one_line_errors("people"):
    run(args)


def run(args: argparse.Namespace) -> None:
  """Makes all dances, then prints the table."""
  args.output.mkdir(parents=True, exist_ok=True)
  files = sorted(args.pictures.iterdir())
  pictures = [p for p in files if p.suffix.lower() in PICTURE_SUFFIXES]
  songs = [p for p in sorted(args.music.iterdir()) if p.suffix in SONG_SUFFIXES]
  songs = songs[: args.num_songs]
  pipe = DancePipeline.from_pretrained(args.checkpoint or saved_stage.PEOPLE)
  pose = BlazePose()
  # Frames of the motion alone; those between them say nothing new.
  fps = None if args.drawing == layers.DECODER else int(pipe.fps)
  dances: dict[tuple[pathlib.Path, pathlib.Path], tuple[Dance, float]] = {}
  for path in pictures:
    for number, song in enumerate(songs):
      with timed_painters() as painters:
        try:
          dance = pipe(path, song, seed=number, drawing=args.drawing, fps=fps)
        except UserError as error:
          print(f"{path.name}: {error}")
          break
      dances[path, song] = dance, sum(p.seconds for p in painters) or np.nan
      dance.save(args.output / f"{path.stem}.{song.stem}.mp4")
  measured: dict[pathlib.Path, list[Measured]] = {}
  for (path, song), (dance, seconds) in dances.items():
    others = [
      np.asarray(other.settings["beat_times"])
      for (p, s), (other, _) in dances.items()
      if p == path and s != song
    ]
    picture = layers.fit(reader.read_image(path), max(dance.frames.shape[1:3]))
    scored = score(dance, picture, pose, seconds, others)
    measured.setdefault(path, []).append(scored)
  count = f"{len(measured)} pictures, {len(dances)} dances"
  print(f"\n| measure, n = {count} | value | asked for |\n|---|---|---|")
  for field, (label, goal) in ROWS.items():
    # Dances of one picture are alike: errors are those of means of pictures.
    means = [mean_of([getattr(m, field) for m in x]) for x in measured.values()]
    print(row(label, means, goal))
  if args.films:
    clips = clips_of(args.films, len(dance.frames), dance.fps)
    poses = [pose("", lambda clip=clip: clip) for clip in clips]
    spreads = [limb_spread(*found) for found in poses]
    print(row(f"spread of limb lengths in {len(spreads)} films", spreads, ""))
    speeds = [foot_sliding(*found, dance.fps) for found in poses]
    print(row(f"speed of the lower foot in {len(speeds)} films", speeds, ""))


def mean_of(values: Sequence[float | None]) -> float | None:
  """Returns the mean of the values that are known; None if there are none."""
  known = [value for value in values if value is not None and np.isfinite(value)]
  return float(np.mean(known)) if known else None


def row(label: str, values: Sequence[float | None], goal: str) -> str:
  """Returns a row of the table: mean, standard error and the number of values."""
  known = np.array([v for v in values if v is not None and np.isfinite(v)], np.float64)
  if not len(known):
    return f"| {label} | none | {goal} |"
  value = with_error(float(known.mean()), standard_error(known))
  span = f"{known.min():.3f} to {known.max():.3f}"
  return f"| {label} | {value} (n {len(known)}, {span}) | {goal} |"


if __name__ == "__main__":
  main()
