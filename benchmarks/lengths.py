r"""How longer dances hold together: windows that are joined, chained, or apart.

  python -m benchmarks.lengths --num_clips=30 --seconds=4,8,16,32 --output=DIR

Held-out dancers of SynthDance dance to their songs with the true beats. Each way
of joining draws the longest dance of each clip; a shorter one is its beginning. "apart"
is the null of the joins: windows that know nothing of each other, one after the other.

Changes are mean differences of frames, in grey levels: from one frame to the next (in
place of speed, which the flow of a chain does not show), of these changes
(acceleration), and from the picture (which is small if windows begin in its pose). "at
joins" is their mean there over that elsewhere, so 1 is no seam. Frames count as shared
if a joined window shares them with the one before. Given --output, the last 4 s of all
dances are written there, a folder for each way and length, beside the real clips in
DIR/real:

  python -m dabfusion_jax.evaluate --samples=DIR/windows_32 --references=DIR/real \
    --metrics=fvd --frame_size=64 --output=DIR/scores

(64 for `dance_e`, whose frames are of that size; the true ones are larger.)
"""

import argparse
import dataclasses
import pathlib
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float, UInt8

from dabfusion_jax.evaluation.reading.networks import open_networks
from dabfusion_jax.evaluation.reporting import markdown
from dabfusion_jax.evaluation.scoring import aggregate, baselines
from dabfusion_jax.inference.dance import SAMPLE_RATE, Dance
from dabfusion_jax.inference.motion import CHAIN, WINDOWS, make_windows
from dabfusion_jax.metrics import alignment, appearance, motion
from dabfusion_jax.pipeline import DancePipeline
from dabfusion_jax.storage import saved_stage
from data_pipeline import cli
from data_pipeline.aist import ClipName
from data_pipeline.media import writer
from data_pipeline.records.picks import even_indices
from data_pipeline.sources.synthdance_source import SynthDanceSource
from data_pipeline.synthdance import music
from data_pipeline.synthdance.generate import make_clip, write_wav

APART = "apart"
WAYS = (WINDOWS, CHAIN, APART)
_SECONDS = 4  # at the end of a dance
_NUM_BEATS = 512


@dataclasses.dataclass(frozen=True)
class Case:
  """A dancer and a song that no model has seen."""

  name: str
  frames: UInt8[np.ndarray, "t h w 3"]  # 4 s of the true dance
  song: pathlib.Path
  beats: Float[np.ndarray, "n"]


@dataclasses.dataclass(frozen=True)
class Made:
  """A dance, the frames its windows begin with, and its speed in pixels per frame."""

  dance: Dance
  starts: Sequence[int]
  overlap: int
  speed: Float[np.ndarray, "steps"]
  wall_seconds: float


def cases(num: int, seconds: float, folder: pathlib.Path) -> Iterator[Case]:
  """Yields held-out clips of the preset `demo`, with songs of `seconds` and a bit."""
  videos = SynthDanceSource("demo").survey().videos
  names = [video.name for video in videos if video.split == "test"]
  for index in even_indices(len(names), num):
    name = ClipName.parse(names[index])
    song = folder / f"{name}.wav"
    write_wav(song, music.render_music(name.music, 0.0, seconds + _SECONDS))
    frames = make_clip(name, seconds=_SECONDS).frames
    yield Case(str(name), frames, song, music.beat_times(name.music, _NUM_BEATS))


def make(pipeline: DancePipeline, case: Case, way: str, seconds: float) -> Made:
  """Makes the dance of a case."""
  began = time.monotonic()
  size = pipeline.settings.data.num_frames
  windows = make_windows(size, CHAIN if way == CHAIN else WINDOWS)
  total = round(seconds * pipeline.fps)
  starts = [windows.start(index) for index in range(windows.count(total))]
  given = {"beats": case.beats.tolist(), "drawing": "decoder", "details": False}
  if way == APART:
    dances = [
      pipeline(
        case.frames[0],
        case.song,
        music_start=start / pipeline.fps,
        seed=index,
        **given,
      )
      for index, start in enumerate(starts)
    ]
    kept = [windows.num_kept(index, total) for index in range(len(starts))]
    join = lambda key: np.concatenate(
      [getattr(x, key)[:num] for x, num in zip(dances, kept, strict=True)]
    )
    dance = dataclasses.replace(dances[0], frames=join("frames"), flow=join("flow"))
  else:
    dance = pipeline(case.frames[0], case.song, duration=seconds, joining=way, **given)
  speed = motion.grid_speed(dance.flow, dance.frames.shape[1:3])
  if way == CHAIN:  # the flow of each segment is relative to its own picture
    for start in starts[1:]:
      speed[start - 1] = (speed[start - 2] + speed[start]) / 2
  overlap = 0 if way == CHAIN else windows.overlap
  return Made(dance, starts, overlap, speed, time.monotonic() - began)


def around(
  starts: Sequence[int], reach: Sequence[int], num: int
) -> Bool[np.ndarray, "n"]:
  """Returns which of `num` items are at an offset in `reach` from a join."""
  chosen = np.zeros(num, bool)
  for start in starts[1:]:
    at = start + np.asarray(reach, int)
    chosen[at[(at >= 0) & (at < num)]] = True
  return chosen


def score(made: Made, case: Case, seconds: float, trunk: object) -> dict[str, float]:
  """Measures the first seconds of a dance; what cannot be is left out."""
  fps = made.dance.fps
  num = round(seconds * fps)
  frames = made.dance.frames[:num].astype(np.float32)
  speed, starts = made.speed[: num - 1], [s for s in made.starts if s < num]
  own = motion.strict_kinematic_beats(speed, fps)
  align = lambda beats: (
    alignment.beat_alignment(
      own, beats[beats < seconds + 1], alignment.SIGMA_SECONDS
    ).value
  )
  last = round(_SECONDS * fps)
  scores = {
    "strict beat alignment": align(case.beats),
    "the same, half a beat off": align(baselines.half_beat_later(case.beats)),
    "latent flow speed [px/frame]": speed.mean(),
    f"the same, last {_SECONDS} s": speed[-last:].mean(),
  }
  mean = lambda x: np.abs(x).mean((1, 2, 3))
  change, bend = mean(np.diff(frames, axis=0)), mean(np.diff(frames, n=2, axis=0))
  pose = mean(frames - made.dance.still.astype(np.float32))
  shared = range(1, 1 + made.overlap)
  for title, values, at in (
    ("change at joins", change, [-1]),
    ("acceleration at joins", bend, [-2, -1]),
    ("change in shared frames", change, shared),
    ("acceleration in shared frames", bend, shared),
    ("distance from the picture at joins", pose, [0, 1]),
  ):
    near = around(starts, at, len(values))
    inside = ~around(starts, range(-2, 1 + made.overlap), len(values))
    if near.any():
      scores[title] = values[near].mean() / values[inside].mean()
  if trunk is not None:
    looks = appearance.appearance(trunk, made.dance.frames[:num])
    far = 1 - looks @ looks[0]
    scores["change of looks, last 4 s minus first"] = (
      far[-last:].mean() - far[:last].mean()
    )
  return scores


def print_table(
  scores: dict[tuple[str, float], list[dict[str, float]]], names: Sequence[str]
) -> None:
  """Prints mean and standard error of each score, by way and length."""
  columns = list(scores)
  rows = list(dict.fromkeys(key for each in scores.values() for key in each[0]))
  table = []
  for row in rows:
    cells = []
    for column in columns:
      values = [each.get(row, np.nan) for each in scores[column]]
      known = np.isfinite(values).any()
      cells.append(str(aggregate.estimate(values, names)) if known else "")
    table.append([row, *cells])
  head = ["measure", *(f"{way}, {seconds:g} s" for way, seconds in columns)]
  print(markdown.table(head, table))


def main(argv: Sequence[str] | None = None) -> None:
  parser = cli.make_parser("benchmarks.lengths", __doc__)
  add = parser.add_argument
  add("--checkpoint", type=cli.path, help="default: the bundled weights")
  add("--num_clips", type=cli.at_least(2), default=30)
  add("--seconds", type=seconds_list, default="4,8,16,32")
  add("--output", type=cli.local_path, help="folder for the last 4 s of each dance")
  args = parser.parse_args(argv)
  pipeline = DancePipeline.from_pretrained(args.checkpoint or saved_stage.shipped())
  networks = open_networks(("alex",))
  trunk = networks["alex"]["trunk"] if "alex" in networks else None
  for line in networks.missing.values():
    print(f"looks are not computed: {line}")
  scores: dict[tuple[str, float], list[dict[str, float]]] = {}
  names, longest = [], max(args.seconds)
  with tempfile.TemporaryDirectory() as folder:
    for case in cases(args.num_clips, longest, pathlib.Path(folder)):
      names.append(case.name)
      if args.output is not None:
        save(args.output / "real" / f"{case.name}.mp4", case.frames)
      for way in WAYS:
        made = make(pipeline, case, way, longest)
        print(f"{case.name}, {way}: {made.wall_seconds:.0f} s", flush=True)
        for seconds in args.seconds:
          measured = score(made, case, seconds, trunk)
          scores.setdefault((way, seconds), []).append(measured)
          if args.output is not None:
            last = round(seconds * pipeline.fps)
            part = made.dance.frames[:last][-round(_SECONDS * pipeline.fps) :]
            save(args.output / f"{way}_{seconds:g}" / f"{case.name}.mp4", part)
  print(f"n = {len(names)} clips; mean and standard error")
  print_table(scores, names)
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
  print(f"peak memory: {peak:.2f} GiB")


def seconds_list(text: str) -> tuple[float, ...]:
  """Parses lengths of at least 4 s, as a `type` of argparse."""
  values = tuple(map(float, text.split(",")))
  if min(values) < _SECONDS:
    raise argparse.ArgumentTypeError(f"must be at least {_SECONDS} s, not {text}")
  return values


def save(path: pathlib.Path, frames: UInt8[np.ndarray, "t h w 3"]) -> None:
  """Writes a silent video."""
  path.parent.mkdir(parents=True, exist_ok=True)
  writer.write_video(path, frames, 10, None, SAMPLE_RATE)


if __name__ == "__main__":
  with cli.one_line_errors("lengths"):
    main()
