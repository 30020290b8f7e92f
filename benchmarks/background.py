r"""How well the background behind a person is filled in.

  python -m benchmarks.background --pictures=DIR

--pictures is a folder of pictures of whole people. A hole of the person's shape is cut
beside the person, to the left and to the right, where the background is known; the
person stays a hole too. Filled are both; only what was cut out is compared with the
picture. Printed are means with standard errors over pictures of LPIPS (AlexNet) and of
PSNR inside the hole: of smooth colours, and of patches. It needs the weights of
BlazePose and of LPIPS (docs/weights.md).
"""

import argparse
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, UInt8

from dabfusion_jax.evaluation.scoring.aggregate import standard_error, with_error
from dabfusion_jax.inference.layers import fit
from dabfusion_jax.inference.pairs import PICTURE_SUFFIXES
from dabfusion_jax.metrics.features import lpips
from dabfusion_jax.people.background import hole_of
from dabfusion_jax.people.fill import fill_smoothly
from dabfusion_jax.people.patches import fill_from_patches
from dabfusion_jax.people.segmenter import Segmenter
from dabfusion_jax.pretrained import store
from data_pipeline import cli
from data_pipeline.errors import UserError
from data_pipeline.media import reader

_ASIDE = 0.27  # of the width; by how much the hole lies beside the person


def fill_by_smooth_colours(
  picture: UInt8[np.ndarray, "h w 3"], hole: Bool[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "h w 3"]:
  """Returns the picture, its hole filled by averages of what is around."""
  filled = fill_smoothly(picture.astype(np.float32), ~hole)
  return np.clip(np.round(filled), 0, 255).astype(np.uint8)


WAYS = {"smooth colours": fill_by_smooth_colours, "patches": fill_from_patches}


def moved_holes(
  person: Bool[np.ndarray, "h w"],
) -> Iterator[Bool[np.ndarray, "h w"]]:
  """Yields the shape of the person to the left and to the right, without the person."""
  aside = round(_ASIDE * person.shape[1])
  none = np.zeros_like(person[:, :aside])
  for moved in ([person[:, aside:], none], [none, person[:, :-aside]]):
    yield np.concatenate(moved, 1) & ~person


def run(args: argparse.Namespace) -> None:
  """Prints a table in markdown."""
  find, weights = Segmenter(), store.load(lpips.WEIGHTS["alex"])
  rows: dict[str, list[np.ndarray]] = {name: [] for name in WAYS}
  for path in sorted(args.pictures.iterdir()):
    if path.suffix.lower() not in PICTURE_SUFFIXES:
      continue
    picture = fit(reader.read_image(path), args.size)
    person = find(picture)
    if person is None:
      raise UserError(f"{path}: nobody was found in this picture.")
    hole = hole_of(person)
    for name, fill in WAYS.items():
      scores = []
      for beside in filter(np.any, moved_holes(hole)):
        filled = fill(picture, hole | beside)
        shown = np.where(beside[..., None], filled, picture)
        distance = lpips.clip_lpips(weights, "alex", shown[None], picture[None])[0]
        error = (filled[beside] / 255 - picture[beside] / 255) ** 2
        scores.append((distance, -10 * np.log10(error.mean())))
      if not scores:
        raise UserError(f"{path}: beside this person there is no room.")
      rows[name].append(np.mean(scores, 0))
  count = len(next(iter(rows.values())))
  if count < 2:
    raise UserError(f"{args.pictures}: {count} pictures; a mean needs two.")
  print(
    f"| filled with, n = {count} pictures | LPIPS (AlexNet) | PSNR in the hole, dB |"
  )
  print("|---|---|---|")
  for name, of_pictures in rows.items():
    cells = [
      with_error(float(x.mean()), standard_error(x)) for x in np.array(of_pictures).T
    ]
    print(f"| {name} | " + " | ".join(cells) + " |")


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the measurement."""
  parser = cli.make_parser("benchmarks.background", __doc__)
  add = parser.add_argument
  add("--pictures", type=cli.local_path, required=True)
  add("--size", type=cli.positive_int, default=512, help="pixels of the longer side")
  args = parser.parse_args(argv)
  with cli.one_line_errors("background"):
    run(args)


if __name__ == "__main__":
  main()
