r"""How well a stage 1 moves people and gives pictures back, and sheets to look at.

  python -m benchmarks.stage1 --checkpoint=STAGE1 --data=DIR --pictures=DIR --output=DIR

--data is a data set of `data_pipeline.build`, of generated clips or of film; errors of
the flow are measured where the true motion is known, of the flow of cells and of that
of pixels by which the decoder warps. Every frame of its test clips is
rebuilt from the first. The moving part of a frame is where it differs from the first by
more than a tenth of the grey levels. --pictures are given back without motion, as are
the first frames of the clips. A stage 1 whose loss is AlexNet's (`loss.network`) has
been trained on what LPIPS (alex) measures; LPIPS (vgg) is then the fairer one. "the
better of moved and stayed" is the first frame moved by the true motion as a flow of so
many cells can hold it, or left in place, whatever is nearer at each pixel: what a
decoder that only moves could reach if it knew the answer. Sheets: first frame, frame,
rebuilt, warped first frame.
"""

import argparse
import pathlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from dabfusion_jax.config import make_autoencoder
from dabfusion_jax.evaluation.reading.labels import parse_labels
from dabfusion_jax.evaluation.scoring import aggregate
from dabfusion_jax.evaluation.study.stage1 import flow_errors_by_region
from dabfusion_jax.inference.inputs import frame_image
from dabfusion_jax.inference.pairs import PICTURE_SUFFIXES
from dabfusion_jax.metrics import image
from dabfusion_jax.metrics.features import lpips
from dabfusion_jax.models.image_codec import FINE_FLOW
from dabfusion_jax.ops.grid import identity_grid
from dabfusion_jax.ops.pixels import from_uint8, to_uint8
from dabfusion_jax.ops.resize import resize_aligned
from dabfusion_jax.ops.true_flow import on_grid, true_flow
from dabfusion_jax.ops.warp import warp
from dabfusion_jax.pretrained import store
from dabfusion_jax.storage.saved_stage import SavedStage, load_stage
from data_pipeline import cli
from data_pipeline.media import reader, writer
from data_pipeline.records import loader
from data_pipeline.records.picks import even_indices
from data_pipeline.records.true_motion import clip_motion

BY_TRUTH = "rebuilt by the true motion"  # as stage 2 may learn it
BETTER = "the better of moved and stayed"
MOVING = 25.5  # of 255 grey levels
SHEET_FRAMES = (5, 15, 25, 35)

Frames = UInt8[np.ndarray, "t h w 3"]
Rows = dict[str, list[float]]  # measure -> value of each clip


class Rebuilt(NamedTuple):
  """Frames rebuilt from the first of them."""

  frames: Frames
  warped: Frames  # the first frame
  # Of "cells", and of "pixels" if the decoder has one.
  flows: dict[str, Float[np.ndarray, "t s s 2"]]


class Codec:
  """Stage 1 on clips."""

  def __init__(self, stage1: SavedStage):
    model, variables = make_autoencoder(stage1.settings.model), stage1.variables

    @jax.jit
    def rebuild(frames):
      motion, z = model.apply(variables, frames, method="analyse_clip")
      z = jnp.broadcast_to(z, (len(frames), *z.shape))
      moved, sown = model.apply(
        variables, z, *motion, method="decode", mutable=["intermediates"]
      )
      flows = {"cells": motion.flow}
      flow = resize_aligned(motion.flow, *frames.shape[1:3])
      if model.fine_flow:
        (flow,) = sown["intermediates"]["decoder"][FINE_FLOW]
        flows["pixels"] = flow
      warped = jax.vmap(warp, (None, 0))(frames[0], flow)
      return moved, warped, flows

    @jax.jit
    def give_back(pictures):
      z = model.apply(variables, pictures, method="encode")
      size = z.shape[1]
      still = jnp.broadcast_to(identity_grid(size, size), (len(z), size, size, 2))
      seen = jnp.ones((len(z), size, size, 1))
      return model.apply(variables, z, still, seen, method="decode")

    @jax.jit
    def rebuild_by(ref_image, flow, seen):
      z = model.apply(variables, ref_image[None], method="encode")
      z = jnp.broadcast_to(z, (len(flow), *z.shape[1:]))
      return model.apply(variables, z, flow, seen, method="decode")

    self._rebuild, self._give_back = rebuild, give_back
    self._rebuild_by = rebuild_by

  def rebuild(self, frames: Frames) -> Rebuilt:
    """Rebuilds the frames from the first."""
    moved, warped, flows = self._rebuild(from_uint8(frames))
    return Rebuilt(to_uint8(moved), to_uint8(warped), jax.device_get(flows))

  def rebuild_by_truth(self, record: Mapping[str, Any], cells: int) -> Frames:
    """Returns the frames of a generated clip, rebuilt from the first by their motion.

    Args:
      record: of the clip, with the truth.
      cells: per side of the flow.
    """
    flow = true_flow(*clip_motion(record, 0), cells)
    return to_uint8(self._rebuild_by(from_uint8(record["frames"][0]), *flow))

  def given_back(self, picture: UInt8[np.ndarray, "h w 3"]) -> float:
    """Returns the PSNR (dB, at most `PSNR_CAP`) of a picture, encoded and decoded."""
    back = to_uint8(self._give_back(from_uint8(picture[None])))[0]
    psnr = image.psnr(back.astype(np.float32), picture.astype(np.float32), 255)
    return min(float(psnr), image.PSNR_CAP)


def better_by_truth(record: Mapping[str, Any], cells: int) -> Frames:
  """Returns the first frame, each pixel moved by the true motion or left in place.

  Args:
    record: of the clip, with the truth.
    cells: per side of the flow that holds the motion.
  """
  frames = record["frames"]
  motion, is_body, _ = clip_motion(record, 0)
  flow = resize_aligned(on_grid(motion, is_body, cells), *frames.shape[1:3])
  moved = to_uint8(jax.vmap(warp, (None, 0))(from_uint8(frames[0]), flow))
  error = lambda x: np.square(x.astype(np.float32) - frames).sum(-1, keepdims=True)
  return np.where(error(moved) < error(frames[:1]), moved, frames[:1])


def measure_clip(
  record: Mapping[str, Any], codec: Codec, distances: Mapping[str, Callable]
) -> tuple[dict[str, float], Frames]:
  """Returns the measures of one clip, and its sheet."""
  frames = record["frames"]
  moved, warped, flows = codec.rebuild(frames)
  cells = flows["cells"].shape[1]
  frozen = np.broadcast_to(frames[:1], frames.shape)
  grey = frames.astype(np.float32).mean(-1)
  masks = {"the moving part": np.abs(grey - grey[:1]) > MOVING}
  values = {"first frame given back [dB]": codec.given_back(frames[0])}
  guesses = {"rebuilt": moved, "frozen": frozen}
  if "part_map" in record:
    guesses[BY_TRUTH] = codec.rebuild_by_truth(record, cells)
    for size in (cells, frames.shape[1]):
      guesses[f"{BETTER}, {size} cells"] = better_by_truth(record, size)
    masks["the person"] = record["part_map"] > 0
    for kind, found in flows.items():
      for region, (error, null) in flow_errors_by_region(record, found).items():
        values[f"flow error of {kind}, {region} [px]"] = error
        values[f"no motion, {region} [px]"] = null
  for name, mask in masks.items():
    for key, guess in guesses.items():
      pair = (x[1:].astype(np.float32) for x in (guess, frames))
      psnr = np.asarray(image.psnr(*pair, 255, mask[1:]))
      psnr = np.minimum(psnr, image.PSNR_CAP)
      values[f"PSNR of {name}, {key} [dB]"] = float(np.nanmean(psnr))
  for name, distance in distances.items():
    for key in ("rebuilt", "frozen", *({BY_TRUTH} & guesses.keys())):
      guess = guesses[key]
      values[f"{name}, {key}"] = float(distance(guess[1:], frames[1:]).mean())
  chosen = [t for t in SHEET_FRAMES if t < len(frames)]
  rows = [np.stack([frames[0]] * len(chosen))] + [
    x[chosen] for x in (frames, moved, warped)
  ]
  return values, np.concatenate([np.concatenate(list(row), 1) for row in rows], 0)


def table(rows: Rows, sequences: Sequence[str]) -> Iterator[str]:
  """Yields the lines of a table: means, and those relative to the null."""
  yield f"| measure, n = {len(sequences)} clips | value | null | |"
  yield "|---|---|---|---|"
  for key, values in rows.items():
    if key.startswith("no motion") or "frozen" in key:
      continue
    null = re.sub("flow error of (cells|pixels)", "no motion", key)
    for made in (rf"{BETTER}, \d+ cells", BY_TRUTH, "rebuilt"):
      null = re.sub(made, "frozen", null)
    value = aggregate.estimate(values, sequences)
    if null == key:
      yield f"| {key} | {value} | | |"
      continue
    gain = (
      f"{aggregate.estimate(np.subtract(values, rows[null]), sequences)} above it"
      if "PSNR" in key
      else f"{aggregate.ratio(values, rows[null], sequences)} of it"
    )
    yield f"| {key} | {value} | {aggregate.estimate(rows[null], sequences)} | {gain} |"


def run(args: argparse.Namespace) -> None:
  """Measures, prints the tables, and writes the sheets."""
  args.output.mkdir(parents=True, exist_ok=True)
  stage1 = load_stage(args.checkpoint, "autoencoder")
  codec, size = Codec(stage1), stage1.settings.data.frame_size
  weights = {net: store.load(name) for net, name in lpips.WEIGHTS.items()}
  distances = {
    f"LPIPS ({net})": lambda a, b, net=net: lpips.clip_lpips(weights[net], net, a, b)
    for net in weights
  }
  print(f"{args.checkpoint}, step {stage1.step}\n")
  if args.data:
    clips = loader.open_clips(args.data, args.split, expect={"frame_size": size})
    chosen = even_indices(len(clips), args.num_clips)
    rows: Rows = {}
    sequences = []
    for i in chosen:
      record = clips[i]
      values, sheet = measure_clip(record, codec, distances)
      writer.write_image(args.output / f"{record['name']}.png", sheet)
      sequences.append(parse_labels(record["name"]).sequence)
      for key, value in values.items():
        rows.setdefault(key, []).append(value)
    print("\n".join(table(rows, sequences)))
  if args.pictures:
    back = {}
    for path in sorted(args.pictures.iterdir()):
      if path.suffix.lower() in PICTURE_SUFFIXES:
        picture = reader.read_image(path)
        back[path.stem] = codec.given_back(frame_image(picture, "crop", size, True))
    values = np.array(list(back.values()))
    error = aggregate.with_error(values.mean(), aggregate.standard_error(values))
    print(
      f"\n{len(back)} pictures given back: {error} dB, the worst {values.min():.1f}"
    )


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the measurement."""
  parser = cli.make_parser("benchmarks.stage1", __doc__)
  add = parser.add_argument
  add("--checkpoint", required=True, help="stage 1: a workdir or a published folder")
  add("--data", type=cli.path)
  add("--split", default="test")
  add("--num_clips", type=cli.positive_int, default=32)
  add("--pictures", type=pathlib.Path)
  add("--output", type=pathlib.Path, required=True)
  args = parser.parse_args(argv)
  with cli.one_line_errors("stage1"):
    run(args)


if __name__ == "__main__":
  main()
