r"""Up to what size people are found in a picture.

  python -m benchmarks.small_people --pictures=DIR

--pictures is a folder of pictures of whole people, each standing. Every one is put, at
several sizes, somewhere before the enlarged backgrounds of the next two. Printed are
how many are found with arms and legs; of these, the overlap of their mask with the true
one (intersection over union), with standard errors over people; and in how many of the
backgrounds alone somebody is found. This needs the weights of the networks that find
people (docs/weights.md).
"""

import argparse
from collections.abc import Sequence

import numpy as np
import PIL.Image
from jaxtyping import Bool, UInt8

from benchmarks.crowd import overlap
from benchmarks.whole_people import read_people
from dabfusion_jax.evaluation.scoring.aggregate import standard_error, with_error
from dabfusion_jax.people.masks import box_of
from dabfusion_jax.people.scene import Scene, blend, own_scene
from dabfusion_jax.people.segmenter import Segmenter
from data_pipeline import cli

HEIGHTS = (0.07, 0.1, 0.14, 0.2, 0.28, 0.4)  # of people, relative to the longer side
_WIDTH, _HEIGHT = 512, 384  # of a picture
_ASIDE, _FLOOR = (0.2, 0.8), (0.75, 0.95)  # where the feet are, relative to these
_LEAST = 0.5  # overlap of a person who was found


def landscape(plate: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "384 512 3"]:
  """Returns the middle of a background, enlarged."""
  height, width = plate.shape[:2]
  side = min(width / _WIDTH, height / _HEIGHT)
  left, top = (width - side * _WIDTH) / 2, (height - side * _HEIGHT) / 2
  box = (left, top, left + side * _WIDTH, top + side * _HEIGHT)
  image = PIL.Image.fromarray(plate)
  return np.asarray(image.resize((_WIDTH, _HEIGHT), PIL.Image.BICUBIC, box))


def put(
  scene: Scene,
  plate: UInt8[np.ndarray, "h w 3"],
  height: float,
  place: tuple[float, float],
) -> tuple[UInt8[np.ndarray, "h w 3"], Bool[np.ndarray, "h w"]]:
  """Returns a background with a person before it, and their mask.

  Args:
    scene: of the person.
    plate: the background.
    height: of the person, in pixels.
    place: (x, y) of the middle of their feet, in pixels.
  """
  box = box_of(scene.alpha > 0.5)
  width = height * (box[2] - box[0]) / (box[3] - box[1])
  size = (max(1, round(width)), max(1, round(height)))
  corner = (round(place[0] - width / 2), round(place[1] - height))

  def move(values):
    image = PIL.Image.fromarray(values).resize(size, PIL.Image.BOX, box)
    canvas = PIL.Image.new(image.mode, plate.shape[1::-1])
    canvas.paste(image, corner)
    return np.asarray(canvas)

  alpha = move(np.round(scene.alpha * 255).astype(np.uint8)) / np.float32(255)
  return blend(plate, move(scene.colours), alpha), alpha > 0.5


def find_overlap(
  find: Segmenter, picture: UInt8[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"]
) -> float:
  """Returns the overlap of the first person of a picture with a mask; 0 for nobody."""
  person = find(picture)
  if person is None or person.landmarks is None:
    return 0.0
  return overlap(person.alpha > 0.5, mask)


def run(args: argparse.Namespace) -> None:
  """Prints a table in markdown, and what is found where nobody is."""
  find = Segmenter()
  scenes = [own_scene(*found) for found in read_people(args.pictures, find)]
  plates = [landscape(scene.plate) for scene in scenes]
  num = len(scenes)
  print("| height | found | overlap |")
  print("|---" * 3 + "|")
  for height in HEIGHTS:
    rows = []
    for i, scene in enumerate(scenes):
      # The same places for all heights.
      places = np.random.default_rng(i).uniform(
        *zip(_ASIDE, _FLOOR, strict=True), (2, 2)
      )
      for beside, place in zip((1, 2), places, strict=True):
        plate = plates[(i + beside) % num]
        place = (place[0] * _WIDTH, place[1] * _HEIGHT)
        rows.append(find_overlap(find, *put(scene, plate, height * _WIDTH, place)))
    overlaps = np.reshape(rows, (num, 2))
    is_found = overlaps > _LEAST
    each = [
      row[there].mean()
      for row, there in zip(overlaps, is_found, strict=True)
      if there.any()
    ]
    cell = "-"
    if len(each) > 1:
      cell = with_error(float(np.mean(each)), standard_error(np.array(each)))
    print(f"| {height} | {is_found.sum()} of {2 * num} | {cell} |")
  empty = sum(find_somebody(find, plate) for plate in plates)
  print(f"\nSomebody is found in {empty} of {num} backgrounds alone.")


def find_somebody(find: Segmenter, picture: UInt8[np.ndarray, "h w 3"]) -> bool:
  """Returns whether a person with arms and legs is found in a picture."""
  person = find(picture)
  return person is not None and person.landmarks is not None


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the measurement."""
  parser = cli.make_parser("benchmarks.small_people", __doc__)
  add = parser.add_argument
  add("--pictures", type=cli.local_path, required=True)
  args = parser.parse_args(argv)
  with cli.one_line_errors("small_people"):
    run(args)


if __name__ == "__main__":
  main()
