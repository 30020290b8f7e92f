r"""How well a dancer of a film is drawn from one of its frames, told the true joints.

  python -m benchmarks.film_pieces --films=DIR --output=DIR

A frame of a film is taken in as a picture of a person is, whatever pose it shows. The
pieces are then moved by the joints that BlazePose finds in the frames of the following
second (of the one before, at the end of the film), and compared with these frames 0.3,
0.6 and 1 s later. Measured, each beside the first frame left as it is: PSNR where the
person is in either of the two frames, LPIPS of the frame, and intersection over union
of the person's outline. Means with standard errors over films. Sheets: the first frame,
then pairs of a true and a drawn one. It needs the weights of BlazePose and AlexNet
(docs/weights.md).
"""

import argparse
import dataclasses
import pathlib
from collections.abc import Iterator, Sequence

import jax.numpy as jnp
import numpy as np
import PIL.Image
import tqdm
from jaxtyping import Float, UInt8

from benchmarks.pieces import overlap, print_table
from dabfusion_jax.metrics import image
from dabfusion_jax.metrics.features import lpips
from dabfusion_jax.people import reference, scene
from dabfusion_jax.people.drawing import Moves, PieceDrawer, draw_people
from dabfusion_jax.people.landmarks import Landmarks
from dabfusion_jax.people.puppet import cut_puppet
from dabfusion_jax.people.segmenter import Person, Segmenter
from dabfusion_jax.people.squares import Square, square_around
from dabfusion_jax.pretrained import store
from data_pipeline import cli
from data_pipeline.errors import UserError
from data_pipeline.media import reader
from data_pipeline.records.picks import even_indices

FPS, LATER = 10, (3, 6, 10)  # frames per second, and frames that are compared
_LOOKED_AT = 960  # pixels of the longer side, at which the dancer is looked for
_MARGIN = 1.1  # around all places of the dancer
_WHITE = 255


@dataclasses.dataclass(frozen=True)
class Film:
  """A film, cut to the square in which its dancer moves, and who is in each frame."""

  name: str
  frames: UInt8[np.ndarray, "t s s 3"]
  people: Sequence[Person | None]


@dataclasses.dataclass(frozen=True)
class Drawn:
  """What the pieces of one frame make of others.

  Attributes:
    first: the frame, and the person in it.
    true: other frames, and the person in each.
    frames: as they are drawn.
    alpha: of the person who is drawn.
  """

  first: tuple[UInt8[np.ndarray, "s s 3"], Person]
  true: Sequence[tuple[UInt8[np.ndarray, "s s 3"], Person]]
  frames: UInt8[np.ndarray, "n s s 3"]
  alpha: Float[np.ndarray, "n s s"]


def read_film(path: pathlib.Path, find: Segmenter, size: int) -> Film | None:
  """Reads a film at `FPS`, cut to the square around its dancer; None without one."""
  times = reader.frame_times(path)
  num_frames = max(2, round(float(times[-1] - times[0]) * FPS) + 1)
  indices = np.array(even_indices(len(times), num_frames))
  frames = np.stack(list(reader.read_frames(path, indices)))
  height, width = frames.shape[1:3]
  somewhere = np.zeros((height, width), bool)
  for frame in frames[:: LATER[0]]:
    small = PIL.Image.fromarray(frame)
    small.thumbnail((_LOOKED_AT, _LOOKED_AT))
    person = find(np.asarray(small))
    if person is not None:
      scale = width / small.width
      left, top, right, bottom = (round(scale * side) for side in person.box)
      somewhere[top:bottom, left:right] = True
  if not somewhere.any():
    return None
  square = square_around(somewhere, _MARGIN)
  # Inside the film, whose borders would be repeated.
  side = min(square.side, height, width)
  left = np.clip(square.left + (square.side - side) / 2, 0, width - side)
  top = np.clip(square.top + (square.side - side) / 2, 0, height - side)
  cut = Square(float(left), float(top), float(side))
  shown = np.stack([cut.cut(frame, size) for frame in frames])
  return Film(path.stem, shown, [find(frame) for frame in shown])


def draw(film: Film, start: int) -> Drawn | None:
  """Draws the second after a frame, or before it, by its pieces.

  Returns:
    None if nobody in the frame could dance, or too few frames follow.
  """
  step = 1 if start + LATER[-1] < len(film.frames) else -1
  indices = start + step * np.arange(LATER[-1] + 1)
  person = film.people[start]
  if indices.min() < 0 or person is None or person.landmarks is None:
    return None
  if reference.find_fault(person, 1.0):
    return None
  layered = scene.own_scene(film.frames[start], person)
  square, size = scene.frame_of(layered), film.frames.shape[1]
  to_frame = lambda found: dataclasses.replace(
    found, points=square.from_picture(found.points) * size
  )
  drawer = PieceDrawer(
    layered, cut_puppet(layered), square, to_frame(person.landmarks), size
  )
  dance = [to_frame(found) for found in _landmarks(film, indices)]
  moves = [move for part in drawer.follow(dance, is_last=True) for move in part]
  seen = [t for t in LATER if _has_landmarks(film.people[indices[t]])]
  if not seen:
    return None
  chosen = [moves[t] for t in seen]
  true = [(film.frames[indices[t]], film.people[indices[t]]) for t in seen]
  frames = draw_people([drawer], [chosen])
  alpha = np.stack([_alpha(drawer, move, film.frames.shape[1:]) for move in chosen])
  return Drawn((film.frames[start], person), true, frames, alpha)


def _landmarks(film: Film, indices: np.ndarray) -> Iterator[Landmarks]:
  """Yields the landmarks of frames; where there are none, those of the one before."""
  found = film.people[indices[0]].landmarks
  for index in indices:
    person = film.people[index]
    found = person.landmarks if _has_landmarks(person) else found
    yield found


def _has_landmarks(person: Person | None) -> bool:
  return person is not None and person.landmarks is not None


def _alpha(
  drawer: PieceDrawer, moves: Moves, shape: tuple[int, ...]
) -> Float[np.ndarray, "s s"]:
  """Returns how much of each pixel is the drawn person."""
  black, white = (
    drawer.over(np.full(shape, level, np.uint8), moves).astype(float).mean(-1)
    for level in (0, _WHITE)
  )
  return 1 - (white - black) / _WHITE


def measure(drawn: Drawn, weights) -> dict[str, float]:
  """Returns the measures of one first frame."""
  first, person = drawn.first
  true = np.stack([frame for frame, _ in drawn.true])
  masks = np.stack([other.alpha > 0.5 for _, other in drawn.true])
  own = person.alpha > 0.5
  frozen = np.broadcast_to(first, true.shape)
  floats = lambda frames: jnp.asarray(frames, jnp.float32)
  seen = jnp.asarray(masks | own)
  psnr = lambda frames: image.psnr(floats(frames), floats(true), 255.0, seen).mean()
  distance = lambda frames: np.mean(lpips.clip_lpips(weights, "alex", frames, true))
  outline = [overlap(a > 0.5, mask) for a, mask in zip(drawn.alpha, masks, strict=True)]
  return {
    "PSNR where the person is, over frozen [dB]": float(
      psnr(drawn.frames) - psnr(frozen)
    ),
    "LPIPS (alex) over that of frozen": float(
      distance(drawn.frames) / distance(frozen)
    ),
    "outline, IoU": float(np.mean(outline)),
    "outline, IoU of frozen": float(np.mean([overlap(own, mask) for mask in masks])),
  }


def sheet(drawn: Drawn) -> np.ndarray:
  """Returns the first frame, then true frames beside drawn ones."""
  pairs = zip(drawn.true, drawn.frames, strict=True)
  shown = [frame for (true, _), made in pairs for frame in (true, made)]
  return np.concatenate([drawn.first[0], *shown], axis=1)


def run(args: argparse.Namespace) -> None:
  """Draws films, and prints a table in markdown."""
  args.output.mkdir(parents=True, exist_ok=True)
  find, weights = Segmenter(), store.load(lpips.WEIGHTS["alex"])
  rows: list[dict[str, float]] = []
  num_tried = num_drawn = 0
  for path in tqdm.tqdm(sorted(args.films.glob("*.mp4"))):
    film = read_film(path, find, args.size)
    if film is None:
      print(f"{path.name}: nobody was found.")
      continue
    measured = []
    for start in even_indices(len(film.frames), args.num_stills):
      num_tried += 1
      drawn = draw(film, start)
      if drawn is not None:
        measured.append(measure(drawn, weights))
        name = f"{film.name}_{start:03d}.png"
        PIL.Image.fromarray(sheet(drawn)).save(args.output / name)
    num_drawn += len(measured)
    if measured:
      rows.append({key: np.mean([x[key] for x in measured]) for key in measured[0]})
  if len(rows) < 2:
    raise UserError(f"{args.films}: {len(rows)} films; a mean needs two.")
  print_table({key: [row[key] for row in rows] for key in rows[0]}, "films")
  print(f"\n{num_drawn} of {num_tried} first frames show somebody who could be drawn.")


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the measurement."""
  parser = cli.make_parser("benchmarks.film_pieces", __doc__)
  add = parser.add_argument
  add("--films", type=cli.local_path, required=True, help="folder of mp4 files")
  add("--output", type=cli.local_path, required=True, help="folder of the sheets")
  add("--num_stills", type=cli.positive_int, default=4, help="first frames of a film")
  add("--size", type=cli.positive_int, default=512, help="pixels of a frame's side")
  args = parser.parse_args(argv)
  with cli.one_line_errors("film_pieces"):
    run(args)


if __name__ == "__main__":
  main()
