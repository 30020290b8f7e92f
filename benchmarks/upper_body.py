r"""How exactly the joints of a person are found whom the picture cuts off.

  python -m benchmarks.upper_body --pictures=DIR

--pictures is a folder of pictures of whole people, each standing. Every one is cut off
at several heights, and narrow. Printed are mean distances from the joints that are
found in the whole picture, in trunks, with standard errors over pictures: of the first
look, and of the square that is settled on. Then a table is drawn over what is below
each height, and printed is how many dance above it. It needs the weights of the
networks that find people (docs/weights.md).
"""

import argparse
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8

from benchmarks.whole_people import read_people
from dabfusion_jax.evaluation.scoring.aggregate import standard_error, with_error
from dabfusion_jax.inference.inputs import PictureError
from dabfusion_jax.inference.layers import make_layers
from dabfusion_jax.inference.subject import OWN
from dabfusion_jax.people import landmarks as lm
from dabfusion_jax.people.segmenter import Person, Segmenter
from dabfusion_jax.people.skeleton import Joints, neck, trunk_length
from data_pipeline import cli

# Where each picture is cut, in trunks below the joints of the shoulders.
HEIGHTS = {"tops of shoulders": -0.05, "joints of shoulders": 0.0, "shoulders": 0.2}
HEIGHTS |= {"chest": 0.4, "waist": 0.65, "hips": 1.1, "thighs": 1.4}
SHOWN = {
  "ears": [lm.LEFT_EAR, lm.RIGHT_EAR],
  "shoulders": [lm.LEFT_SHOULDER, lm.RIGHT_SHOULDER],
  "elbows": [lm.LEFT_ELBOW, lm.RIGHT_ELBOW],
  "hips": [lm.LEFT_HIP, lm.RIGHT_HIP],
}
FIRST, SETTLED = "first look", "settled"
_TOP, _FRONT = (150, 105, 70), (120, 80, 50)  # colours of a table
_EDGE = 0.04  # trunks of its top that are seen
_SIDE, _ABOVE = 0.9, 0.15  # trunks beside the neck and above the head


def cut(
  picture: UInt8[np.ndarray, "h w 3"], person: Person, trunks: float
) -> tuple[UInt8[np.ndarray, "h2 w2 3"], Float[np.ndarray, "2"]]:
  """Returns the upper part of a picture, and where it begins (x, y)."""
  points = person.landmarks.points
  unit, (x, y) = trunk_length(points), neck(points)
  rows, columns = portrait((x, y), unit, person.box[1], trunks, _SIDE)
  part = np.ascontiguousarray(picture[rows, columns])
  return part, np.array([columns.start, rows.start], float)


def portrait(
  neck: Sequence[float], unit: float, head: float, trunks: float, beside: float
) -> tuple[slice, slice]:
  """Returns the rows and columns of a portrait.

  Args:
    neck: x and y.
    unit: length of the trunk.
    head: the first row of the person.
    trunks: between the neck and the last row.
    beside: trunks on both sides of the neck.
  """
  x, y = neck
  return (
    slice(max(int(head - _ABOVE * unit), 0), int(y + trunks * unit)),
    slice(max(int(x - beside * unit), 0), int(x + beside * unit)),
  )


def behind_table(
  picture: UInt8[np.ndarray, "h w 3"], person: Person, trunks: float
) -> UInt8[np.ndarray, "h w 3"]:
  """Returns a picture with a table over what is below a height."""
  points = person.landmarks.points
  unit = trunk_length(points)
  top = int(neck(points)[1] + trunks * unit)
  made = picture.copy()
  made[top:] = _FRONT
  made[top : top + int(_EDGE * unit)] = _TOP
  return made


def dances_above(picture: UInt8[np.ndarray, "h w 3"]) -> bool:
  """Returns whether the person of a picture dances above something that hides them."""
  try:
    made, _ = make_layers(picture, OWN, None, 1, True)
  except PictureError:
    return False
  return made is not None and made.scene.window is not None


def distances(found: Joints, true: Joints) -> list[float]:
  """Returns the mean distance of each kind of joint, in trunks of the true ones."""
  error = np.hypot(*(found - true).T) / trunk_length(true)
  return [float(error[joints].mean()) for joints in SHOWN.values()]


def run(args: argparse.Namespace) -> None:
  """Prints a table in markdown."""
  find = Segmenter()
  whole = read_people(args.pictures, find)
  print("| cut off at the | found | by the | " + " | ".join(SHOWN) + " |")
  print("|---" * (3 + len(SHOWN)) + "|")
  for where, trunks in HEIGHTS.items():
    rows: dict[str, list[list[float]]] = {FIRST: [], SETTLED: []}
    for picture, person in whole:
      part, origin = cut(picture, person, trunks)
      first = find(part)
      if first is None:
        continue
      for name, seen in ((FIRST, first), (SETTLED, find.complete(first))):
        known = seen and (seen.landmarks or seen.unsure)
        if known:
          true = person.landmarks.points
          rows[name].append(distances(known.points + origin, true))
    for name, of_pictures in rows.items():
      cells = ["-"] * len(SHOWN)
      if len(of_pictures) > 1:
        cells = [
          with_error(float(x.mean()), standard_error(x))
          for x in np.array(of_pictures).T
        ]
      count = f"{len(of_pictures)} of {len(whole)}"
      print(f"| {where} | {count} | {name} | " + " | ".join(cells) + " |")
  print("\n| a table hides what is below the | dances above it |")
  print("|---" * 2 + "|")
  for where, trunks in HEIGHTS.items():
    num = sum(dances_above(behind_table(*found, trunks)) for found in whole)
    print(f"| {where} | {num} of {len(whole)} |")


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the measurement."""
  parser = cli.make_parser("benchmarks.upper_body", __doc__)
  add = parser.add_argument
  add("--pictures", type=cli.local_path, required=True)
  args = parser.parse_args(argv)
  with cli.one_line_errors("upper_body"):
    run(args)


if __name__ == "__main__":
  main()
