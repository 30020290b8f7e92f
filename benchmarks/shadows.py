r"""How well the shadow of a person is taken out of a background.

  python -m benchmarks.shadows --films=DIR

--films is a folder of films by cameras that stand still. Where the dancer of the first
frame stood, and beside them, other frames show the background without a shadow: its
colours are medians over all frames in which nobody is near. Printed is by how much
brightness differs from it, in percent (mean absolute difference of logarithms): beside
the dancer, in the first frame as it is and without the shadow; and behind them, filled
from the frame as it is and without the shadow. Means with standard errors over films,
and of the paired differences. It needs the weights of BlazePose (docs/weights.md).
"""

import argparse
import pathlib
from collections.abc import Sequence

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float, UInt8

from dabfusion_jax.evaluation.scoring.aggregate import standard_error, with_error
from dabfusion_jax.people import background, shadow
from dabfusion_jax.people.patches import fill_from_patches
from dabfusion_jax.people.segmenter import Person, Segmenter
from data_pipeline import cli
from data_pipeline.cutting.person import crop_on_person
from data_pipeline.errors import UserError
from data_pipeline.media import reader
from data_pipeline.media.framing import fit_short_side
from data_pipeline.records.picks import even_indices

_NEAR = (31, 81)  # rows and columns around people, in which a background is not true
_ASIDE = (9, 61)  # the same, of the background beside the dancer
_MIN_FRAMES = 3  # that show a background

Mask = Bool[np.ndarray, "h w"]


def film_squares(
  path: pathlib.Path, num_frames: int, size: int
) -> UInt8[np.ndarray, "t s s 3"]:
  """Returns frames over a whole film, cut to the square around its dancer."""
  indices = np.array(even_indices(len(reader.frame_times(path)), num_frames))
  frames = np.stack(list(reader.read_frames(path, indices)))
  return crop_on_person(*fit_short_side(frames, size))[0]


def true_background(
  frames: UInt8[np.ndarray, "t h w 3"], holes: Sequence[Mask]
) -> tuple[Float[np.ndarray, "h w 3"], Mask]:
  """Returns medians of what frames show far from people, and where they are known."""
  far = ~np.stack([_grown(hole, _NEAR) for hole in holes])
  known = far.sum(0) >= _MIN_FRAMES
  shown = np.where(far[..., None], frames, np.nan)
  truth = np.zeros(frames.shape[1:])
  truth[known] = np.nanmedian(shown[:, known], 0)
  return truth, known


def _grown(mask: Mask, size: tuple[int, int]) -> Mask:
  return scipy.ndimage.binary_dilation(mask, np.ones(size))


def error_in(
  picture: UInt8[np.ndarray, "h w 3"], truth: Float[np.ndarray, "h w 3"], where: Mask
) -> float:
  """Returns how much brightness differs in percent; NaN without pixels."""
  if not where.any():
    return float("nan")
  ratio = np.log((picture[where].mean(-1) + 1) / (truth[where].mean(-1) + 1))
  return float(100 * np.abs(ratio).mean())


def measure(
  picture: UInt8[np.ndarray, "h w 3"],
  person: Person,
  truth: Float[np.ndarray, "h w 3"],
  known: Mask,
) -> dict[str, float]:
  """Returns the errors of one first frame, beside its dancer and behind."""
  hole = background.hole_of(person)
  plate, (shade,) = background.clear(picture, [person])
  lit = plate if shade is None else shadow.without_shade(plate, shade)
  beside, behind = known & _grown(hole, _ASIDE) & ~hole, known & hole
  return {
    "beside, as it is": error_in(picture, truth, beside),
    "beside, without the shadow": error_in(lit, truth, beside),
    "behind, as it is": error_in(fill_from_patches(picture, hole), truth, behind),
    "behind, without the shadow": error_in(lit, truth, behind),
  }


def run(args: argparse.Namespace) -> None:
  """Prints a table in markdown."""
  find, rows = Segmenter(), []
  for path in sorted(args.films.glob("*.mp4")):
    frames = film_squares(path, args.num_frames, args.size)
    people = [find(frame) for frame in frames]
    if people[0] is None or people[0].landmarks is None:
      print(f"{path.name}: no body was found in the first frame.")
      continue
    nowhere = np.zeros(frames.shape[1:3], bool)
    holes = [nowhere if x is None else background.hole_of(x) for x in people]
    rows.append(measure(frames[0], people[0], *true_background(frames, holes)))
  if len(rows) < 2:
    raise UserError(f"{args.films}: {len(rows)} films; a mean needs two.")
  print("| background | n | as it is, % | without the shadow, % | difference |")
  print("|---|---|---|---|---|")
  for place in ("beside", "behind"):
    pairs = np.array(
      [[r[f"{place}, as it is"], r[f"{place}, without the shadow"]] for r in rows]
    )
    pairs = pairs[np.isfinite(pairs).all(1)]
    if not len(pairs):
      print(f"| {place} the dancer | 0 | not seen | not seen | |")
      continue
    values = [*pairs.T, pairs[:, 1] - pairs[:, 0]]
    cells = [with_error(float(x.mean()), standard_error(x)) for x in values]
    print(f"| {place} the dancer | {len(pairs)} | " + " | ".join(cells) + " |")


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the measurement."""
  parser = cli.make_parser("benchmarks.shadows", __doc__)
  add = parser.add_argument
  add("--films", type=cli.local_path, required=True)
  add("--num_frames", type=cli.positive_int, default=30, help="of each film")
  add("--size", type=cli.positive_int, default=512, help="pixels of a frame's side")
  args = parser.parse_args(argv)
  with cli.one_line_errors("shadows"):
    run(args)


if __name__ == "__main__":
  main()
