r"""How well people are told apart who stand close to each other.

  python -m benchmarks.crowd --pictures=DIR

--pictures is a folder of pictures of whole people, each standing. Every one is put
beside the next, before the first one's background, at several distances of their necks
in trunks; whose feet are lower is in front. Printed are how many of both are found, and
of these the overlap of their mask with the true one (intersection over union; 0.5 if
both were taken for one) and the mean distance of the joints from those in the picture
of one, in trunks; with standard errors over pairs. It needs the weights of the networks
that find people (docs/weights.md).
"""

import argparse
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, UInt8

from benchmarks.whole_people import read_people
from dabfusion_jax.evaluation.scoring.aggregate import standard_error, with_error
from dabfusion_jax.people import landmarks as lm
from dabfusion_jax.people.scene import Scene, blend, own_scene
from dabfusion_jax.people.segmenter import Segmenter
from dabfusion_jax.people.skeleton import Joints, neck, trunk_length
from data_pipeline import cli

DISTANCES = (1.4, 1.1, 0.9, 0.7, 0.5)  # trunks; shoulders are 0.67 wide
_DEPTH = 0.15  # trunks, by which the second one stands lower
_JOINTS = slice(lm.LEFT_SHOULDER, lm.LEFT_ANKLE + 2)


def together(
  first: Scene, second: Scene, trunks: float
) -> tuple[UInt8[np.ndarray, "h w 3"], list[Bool[np.ndarray, "h w"]], list[Joints]]:
  """Returns a picture of two people, their masks, and their joints, from the left."""
  unit = trunk_length(first.landmarks.points)
  margin = int(2 * unit)
  plate = np.pad(first.plate, ((0, 0), (margin, margin), (0, 0)), "symmetric")
  start = neck(first.landmarks.points) + [margin, 0]
  ends = [start - [trunks * unit / 2, 0], start + [trunks * unit / 2, _DEPTH * unit]]
  moves = [
    np.round(end - neck(scene.landmarks.points)).astype(int)
    for scene, end in zip((first, second), ends, strict=True)
  ]
  joints = [
    scene.landmarks.points + move
    for scene, move in zip((first, second), moves, strict=True)
  ]
  masks: dict[int, np.ndarray] = {}
  for i in np.argsort([points[:, 1].max() for points in joints]).tolist():
    scene, (left, top) = (first, second)[i], moves[i]
    rows, columns = (np.arange(size) for size in scene.alpha.shape)
    rows = rows[(rows + top >= 0) & (rows + top < plate.shape[0])]
    columns = columns[(columns + left >= 0) & (columns + left < plate.shape[1])]
    own, place = np.ix_(rows, columns), np.ix_(rows + top, columns + left)
    plate[place] = blend(plate[place], scene.colours[own], scene.alpha[own])
    mask = np.zeros(plate.shape[:2], bool)
    mask[place] = scene.alpha[own] > 0.5
    masks = {name: other & ~mask for name, other in masks.items()} | {i: mask}
  return plate, [masks[0], masks[1]], joints


def overlap(a: Bool[np.ndarray, "h w"], b: Bool[np.ndarray, "h w"]) -> float:
  """Returns the intersection of two masks over their union."""
  return float((a & b).sum() / (a | b).sum())


def run(args: argparse.Namespace) -> None:
  """Prints a table in markdown."""
  find = Segmenter()
  scenes = [own_scene(*found) for found in read_people(args.pictures, find)]
  print("| distance | both found | overlap | joints |")
  print("|---" * 4 + "|")
  for trunks in DISTANCES:
    rows = []
    for first, second in zip(scenes, scenes[1:] + scenes[:1], strict=True):
      picture, masks, joints = together(first, second, trunks)
      parts = find.find(picture)
      found = [find.cut_out(parts, pick) for pick in (1, 2)]
      if len(parts) != 2 or any(x is None or x.landmarks is None for x in found):
        continue
      found.sort(key=lambda person: neck(person.landmarks.points)[0])
      alphas = [person.alpha > 0.5 for person in found]
      errors = [
        np.hypot(*(person.landmarks.points - true)[_JOINTS].T).mean()
        / trunk_length(true)
        for person, true in zip(found, joints, strict=True)
      ]
      rows.append(
        (
          np.mean([overlap(a, b) for a, b in zip(alphas, masks, strict=True)]),
          np.mean(errors),
        )
      )
    cells = ["-"] * 2
    if len(rows) > 1:
      cells = [with_error(float(x.mean()), standard_error(x)) for x in np.array(rows).T]
    print(f"| {trunks} | {len(rows)} of {len(scenes)} | " + " | ".join(cells) + " |")


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the measurement."""
  parser = cli.make_parser("benchmarks.crowd", __doc__)
  add = parser.add_argument
  add("--pictures", type=cli.local_path, required=True)
  args = parser.parse_args(argv)
  with cli.one_line_errors("crowd"):
    run(args)


if __name__ == "__main__":
  main()
