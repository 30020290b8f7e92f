r"""How well a person who was cut into pieces is drawn, told how they truly moved.

  python -m benchmarks.pieces --output=DIR [--num_clips=16 --size=512]

Held-out generated people, who stand with their arms down in the first frame, are taken
in as a picture of a person is: outline and landmarks are found by the networks that
find people (docs/weights.md). The pieces are then moved by the true joints. Measured in
the first frame: how much of what is taken for the person, and for arms, is truly that
(intersection over union), and how much of other colours that brings. In the others:
PSNR inside the person and LPIPS of the frame, both relative to the first frame left as
it is. Sheets: first frame, its pieces, and for some frames the true one and the drawn
one.
"""

import argparse
import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
import PIL.Image
import tqdm
from jaxtyping import Bool, Float, UInt8

from dabfusion_jax.evaluation.scoring import aggregate
from dabfusion_jax.metrics import image
from dabfusion_jax.metrics.features import lpips
from dabfusion_jax.people import regions, scene, skeleton
from dabfusion_jax.people.drawing import PieceDrawer, draw_people
from dabfusion_jax.people.fill import fill_smoothly
from dabfusion_jax.people.joints import joints_of as landmark_joints
from dabfusion_jax.people.joints import with_joints
from dabfusion_jax.people.landmarks import Landmarks
from dabfusion_jax.people.pieces import BODY_ALPHA
from dabfusion_jax.people.puppet import cut_puppet
from dabfusion_jax.people.segmenter import Segmenter
from dabfusion_jax.pretrained import store
from data_pipeline import cli
from data_pipeline.aist import ClipName
from data_pipeline.records.body_parts import PARTS, joints_of
from data_pipeline.records.picks import even_indices
from data_pipeline.synthdance import presets
from data_pipeline.synthdance.film import is_held_out
from data_pipeline.synthdance.generate import GeneratedClip, make_clip

NUM_FRAMES, FPS, SHOWN = 9, 2, (2, 5, 8)
_ARMS = np.isin(
  np.arange(len(PARTS) + 1),
  [1 + i for i, part in enumerate(PARTS) if part.endswith(("arm", "_hand"))],
)

Mask = Bool[np.ndarray, "h w"]


@dataclasses.dataclass(frozen=True)
class Drawn:
  """A clip beside what the pieces make of it.

  Attributes:
    frames: as they are drawn.
    outline: of the person in the first frame.
    pieces: of that frame.
  """

  frames: UInt8[np.ndarray, "t h w 3"]
  outline: Mask
  pieces: dict[str, Mask]


def choose_clips(num_clips: int) -> list[ClipName]:
  """Returns held-out people who stand at first, as many as there are at most."""
  names = [
    spec.name
    for spec in presets.clips_of_preset("people")
    if is_held_out(spec.name) and spec.delay_beats
  ]
  return [names[index] for index in even_indices(len(names), num_clips)]


def film_clip(name: ClipName, size: int) -> GeneratedClip:
  """Films a person who stands with their arms down, then dances."""
  return make_clip(
    name,
    fps=FPS,
    seconds=NUM_FRAMES / FPS,
    frame_size=size,
    look="people",
    delay_beats=1,
  )


def draw(clip: GeneratedClip, find: Segmenter) -> Drawn | None:
  """Draws a clip from its first frame; None if no body was found there."""
  first = clip.frames[0]
  person = find(first)
  if person is None or person.landmarks is None:
    return None
  layered = scene.own_scene(first, person)
  found = layered.landmarks
  # What the detector says of the picture stays; the joints move as the true ones do.
  true = joints_of(clip.truth.part_pose).astype(np.float64)
  moved = landmark_joints(found.points) + true - true[:1]
  dance = [_move(found, joints) for joints in moved]
  square = scene.frame_of(layered)
  to_frame = lambda x: dataclasses.replace(
    x, points=square.from_picture(x.points) * len(first)
  )
  drawer = PieceDrawer(
    layered, cut_puppet(layered), square, to_frame(found), len(first)
  )
  followed = drawer.follow([to_frame(x) for x in dance], is_last=True)
  frames = np.concatenate([draw_people([drawer], [moves]) for moves in followed])
  points, body = found.points, layered.alpha > BODY_ALPHA
  shapes = regions.outlines(points, skeleton.trunk_length(points), body.shape)
  parts = regions.assign(shapes, body, layered.colours, points)
  return Drawn(frames, layered.alpha > 0.5, parts)


def _move(found: Landmarks, joints: Float[np.ndarray, "13 2"]) -> Landmarks:
  return dataclasses.replace(
    found,
    points=with_joints(found.points, joints),
    confidence=np.ones_like(found.confidence),
  )


def overlap(found: Mask, true: Mask) -> float:
  """Returns the intersection of two masks over their union."""
  return float((found & true).sum() / max((found | true).sum(), 1))


def colour_errors(
  first: UInt8[np.ndarray, "h w 3"], found: Mask, true: Mask, body: Mask
) -> tuple[float, float]:
  """Returns what arms take along, and what they leave behind, in percent of an arm.

  A pixel on the wrong side counts by how far its colour is from those of the side it is
  taken for, relative to the full range: a sleeve may end anywhere in a white shirt.
  """
  colours, rest = first.astype(np.float32), body & ~true
  along = np.abs(colours - fill_smoothly(colours, true)).mean(-1)[found & ~true]
  left = np.abs(colours - fill_smoothly(colours, rest)).mean(-1)[true & ~found]
  return tuple(100 * float(x.sum()) / (255 * true.sum()) for x in (along, left))


def measure(clip: GeneratedClip, drawn: Drawn, weights) -> dict[str, float]:
  """Returns the measures of one clip."""
  parts = clip.truth.part_map
  arms = np.logical_or.reduce([m for name, m in drawn.pieces.items() if "arm" in name])
  arms &= drawn.outline
  first, true_arms = clip.frames[0], _ARMS[parts[0]]
  along, left = colour_errors(first, arms, true_arms, parts[0] > 0)
  frozen = np.broadcast_to(clip.frames[:1], clip.frames.shape)
  true, shown, still = (x[1:] for x in (clip.frames, drawn.frames, frozen))
  inside = lambda x: np.asarray(
    image.psnr(x.astype(np.float32), true.astype(np.float32), 255.0, parts[1:] > 0)
  ).mean()
  distance = lambda x: np.mean(lpips.clip_lpips(weights, "alex", x, true))
  return {
    "outline, IoU": overlap(drawn.outline, parts[0] > 0),
    "arms, IoU": overlap(arms, true_arms),
    "colours that arms take along [% of arms]": along,
    "colours of arms left behind [% of arms]": left,
    "PSNR inside the person, over frozen [dB]": float(inside(shown) - inside(still)),
    "LPIPS (alex) over that of frozen": float(distance(shown) / distance(still)),
  }


def sheet(clip: GeneratedClip, drawn: Drawn) -> np.ndarray:
  """Returns the first frame, its pieces in colours, and frames beside drawn ones."""
  first = clip.frames[0]
  colours = np.random.default_rng(1).integers(0, 256, (len(drawn.pieces), 3))
  overlay = first.astype(np.float32)
  for colour, mask in zip(colours, drawn.pieces.values(), strict=True):
    overlay[mask] = 0.5 * overlay[mask] + 0.5 * colour
  shown = [first, overlay.astype(np.uint8)]
  for t in SHOWN:
    shown += [clip.frames[t], drawn.frames[t]]
  return np.concatenate(shown, axis=1)


def print_table(rows: Mapping[str, Sequence[float]], of: str) -> None:
  """Prints means with standard errors in markdown.

  Args:
    rows: the values of each measure.
    of: what they are values of, in the plural.
  """
  print(f"| measure (n = {len(next(iter(rows.values()), []))} {of}) | value |")
  print("|---|---|")
  for measured, values in rows.items():
    error = aggregate.standard_error(np.array(values))
    print(f"| {measured} | {aggregate.with_error(float(np.mean(values)), error)} |")


def run(args: argparse.Namespace) -> None:
  """Draws clips, and prints a table in markdown."""
  output = pathlib.Path(args.output)
  output.mkdir(parents=True, exist_ok=True)
  find, weights = Segmenter(), store.load(lpips.WEIGHTS["alex"])
  rows: dict[str, list[float]] = {}
  missed, names = 0, choose_clips(args.num_clips)
  for name in tqdm.tqdm(names):
    clip = film_clip(name, args.size)
    drawn = draw(clip, find)
    if drawn is None:
      missed += 1
      continue
    for measured, value in measure(clip, drawn, weights).items():
      rows.setdefault(measured, []).append(value)
    PIL.Image.fromarray(sheet(clip, drawn)).save(output / f"{name}.png")
  print_table(rows, "people")
  print(f"\nNo body was found in {missed} of {len(names)} first frames.")


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the measurement."""
  parser = cli.make_parser("benchmarks.pieces", __doc__)
  add = parser.add_argument
  add("--output", type=cli.path, required=True, help="folder of the sheets")
  add("--num_clips", type=cli.positive_int, default=16)
  add("--size", type=cli.positive_int, default=512, help="pixels of a frame")
  args = parser.parse_args(argv)
  with cli.one_line_errors("pieces"):
    run(args)


if __name__ == "__main__":
  main()
