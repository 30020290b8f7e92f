r"""How exactly single people in the middle of a dance are cut out of their picture.

  python -m benchmarks.dancers [--num=60] [--cut=0.8]

The people are generated, of the look `people` of SynthDance, so their outline and their
joints are known. Printed are the overlap of the mask with the true one (intersection
over union), and the mean distance of each kind of joint from the true one, in trunks,
with standard errors over those who are found with arms and legs. Detectors place joints
elsewhere in a body than its mesh does, so no distance reaches 0. It needs the weights
of the networks that find people (docs/weights.md). With --cut, pictures are portraits
that end so many trunks below the shoulders, and only the overlap is printed.
"""

import argparse
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float, UInt8

from benchmarks.crowd import overlap
from benchmarks.upper_body import portrait
from dabfusion_jax.evaluation.scoring.aggregate import standard_error, with_error
from dabfusion_jax.people import landmarks as lm
from dabfusion_jax.people.segmenter import Segmenter
from data_pipeline import cli
from data_pipeline.aist import DANCERS, ClipName
from data_pipeline.errors import UserError
from data_pipeline.synthdance import generate

SIZE = 512  # pixels of a picture; of one that is cut, twice as many
_BESIDE = 1.0  # trunks of a portrait, beside the neck
_EARLIEST, _LATEST = 2.0, 6.0  # seconds of a dance, between which it is looked at
# Landmarks, and the same joints in COCO order.
SHOWN = {
  "shoulders": ([lm.LEFT_SHOULDER, lm.RIGHT_SHOULDER], [5, 6]),
  "elbows": ([lm.LEFT_ELBOW, lm.RIGHT_ELBOW], [7, 8]),
  "wrists": ([lm.LEFT_WRIST, lm.RIGHT_WRIST], [9, 10]),
  "hips": ([lm.LEFT_HIP, lm.RIGHT_HIP], [11, 12]),
  "knees": ([lm.LEFT_KNEE, lm.RIGHT_KNEE], [13, 14]),
  "ankles": ([lm.LEFT_ANKLE, lm.RIGHT_ANKLE], [15, 16]),
}


def render(
  num: int, size: int
) -> Iterator[
  tuple[UInt8[np.ndarray, "h w 3"], Bool[np.ndarray, "h w"], Float[np.ndarray, "17 2"]]
]:
  """Yields pictures of as many people, their masks, and their joints in COCO order."""
  seconds = np.random.default_rng(0).uniform(_EARLIEST, _LATEST, num)
  genres = list(DANCERS)
  for i, start in enumerate(seconds.round(1)):
    genre, take = genres[i % len(genres)], i // len(genres)
    dancer, song = DANCERS[genre][take % len(DANCERS[genre])], take % 6
    name = f"g{genre}_sBM_c01_{dancer}_m{genre}{song}_ch{take % 10 + 1:02d}"
    clip = generate.make_clip(
      ClipName.parse(name),
      seconds=0.1,
      start_seconds=float(start),
      frame_size=size,
      look="people",
    )
    truth = clip.truth
    yield clip.frames[0], truth.part_map[0] > 0, truth.joints2d[0].astype(np.float64)


def trunk_of(true: Float[np.ndarray, "17 2"]) -> float:
  """Returns the length of a trunk in pixels."""
  return float(np.hypot(*(true[[5, 6]].mean(0) - true[[11, 12]].mean(0))))


def distances(
  found: Float[np.ndarray, "33 2"], true: Float[np.ndarray, "17 2"]
) -> list[float]:
  """Returns the mean distance of each kind of joint, in trunks of the true ones."""
  return [
    float(np.hypot(*(found[landmarks] - true[joints]).T).mean() / trunk_of(true))
    for landmarks, joints in SHOWN.values()
  ]


def run(args: argparse.Namespace) -> None:
  """Prints a table in markdown."""
  find = Segmenter()
  overlaps, joints, num = [], [], 0
  for picture, mask, true in render(args.num, SIZE * (1 if args.cut is None else 2)):
    num += 1
    if args.cut is not None:
      head = np.flatnonzero(mask.any(1))[0]
      neck = true[[5, 6]].mean(0)
      part = portrait(neck, trunk_of(true), head, args.cut, _BESIDE)
      picture, mask = np.ascontiguousarray(picture[part]), mask[part]
    person = find(picture)
    if person is not None and args.cut is not None:
      person = find.complete(person)
    if person is None or person.landmarks is None:
      continue
    overlaps.append(overlap(person.alpha > 0.5, mask))
    joints.append(distances(person.landmarks.points, true))
  if len(joints) < 2:
    raise UserError(f"{len(joints)} of {num} were found: too few to compare.")
  cells = [
    with_error(float(x.mean()), standard_error(x))
    for x in (np.array(overlaps), *np.array(joints).T)
  ]
  shown = [] if args.cut is not None else list(SHOWN)
  print("| " + " | ".join(["found", "overlap", "least", *shown]) + " |")
  print("|---" * (3 + len(shown)) + "|")
  counts = [f"{len(overlaps)} of {num}", cells[0], f"{min(overlaps):.3f}"]
  print("| " + " | ".join(counts + cells[1 : 1 + len(shown)]) + " |")


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the measurement."""
  parser = cli.make_parser("benchmarks.dancers", __doc__)
  parser.add_argument("--num", type=cli.at_least(2), default=60)
  parser.add_argument("--cut", type=cli.positive_float)
  args = parser.parse_args(argv)
  with cli.one_line_errors("dancers"):
    run(args)


if __name__ == "__main__":
  main()
