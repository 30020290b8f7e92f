r"""Does it dance: the table of what must be true of trained models, from checkpoints.

  python -m dabfusion_jax.claims --checkpoint_e=runs/dance_e \
    --checkpoint_b=runs/dance_b --data=data/synthdance_medium \
    --latents=data/dance_latents --output=runs/claims

Both models, with beats and without, share one stage 1; the data are generated ones,
whose truth is known. Every figure stands with its number of clips, its standard error
by sequence, the value of the true clips, and the null. Parts (`--parts`):

  stage1        pictures rebuilt, and flow against the body's true motion
  beats         alignment of dances and true clips with the true beats
  control       beats moved, at other tempi, and silence
  models, trackers, lengths, groups, styles   the paper's comparisons in miniature
  steps         few steps of every sampler, and long ones on fewer clips
  replay        distance to the nearest training clip

Each writes OUTPUT/PART.json; `claims.md` holds the table of those that are done, and
`steps.svg` the curve. The same command goes on where it was stopped.
"""

import argparse
import dataclasses
import pathlib
from collections.abc import Callable, Sequence

import jax

from dabfusion_jax.diffusion.samplers import METHODS
from dabfusion_jax.evaluation.reading.cache import FeatureCache
from dabfusion_jax.evaluation.reading.networks import open_networks
from dabfusion_jax.evaluation.study import results
from dabfusion_jax.evaluation.study.drawing import Artist, Sampling
from dabfusion_jax.evaluation.study.results import Part
from dabfusion_jax.evaluation.study.study import Study, open_subjects
from dabfusion_jax.evaluation.study.titles import NOTES, TITLES
from dabfusion_jax.pipeline import DancePipeline
from data_pipeline.cli import one_line_errors, positive_float, positive_int
from data_pipeline.errors import UserError

VERSION = 2  # of what the parts measure
MIN_CLIPS = 4  # of a half against the other


def open_artist(folder: str, args: argparse.Namespace, cache: FeatureCache) -> Artist:
  """A model with its sampling, changed where the command line says so."""
  pipeline = DancePipeline.from_pretrained(folder)
  settings = dict(pipeline.config["sampling"])
  changes = {
    "method": args.method,
    "num_steps": args.num_steps,
    "guidance_scale": args.guidance_scale,
  }
  settings |= {key: value for key, value in changes.items() if value is not None}
  return Artist(pipeline, cache, Sampling(**settings), args.seed)


def run(args: argparse.Namespace) -> None:
  """Computes the parts that are missing, prints and writes the table."""
  if args.num_clips < MIN_CLIPS:
    raise UserError(f"--num_clips={args.num_clips} are too few; {MIN_CLIPS} at least.")
  unknown = sorted(set(args.parts) - set(TITLES))
  if unknown:
    raise UserError(f"Unknown parts {unknown}; known: {', '.join(TITLES)}.")
  unknown = sorted(set(args.methods) - set(METHODS))
  if unknown:
    raise UserError(f"Unknown methods {unknown}; known: {', '.join(METHODS)}.")
  output = pathlib.Path(args.output)
  output.mkdir(parents=True, exist_ok=True)
  cache = FeatureCache(args.cache or output / "cache")
  artists = {"e": open_artist(args.checkpoint_e, args, cache)}
  if args.checkpoint_b:
    artists["b"] = open_artist(args.checkpoint_b, args, cache)
  stages = {artist.pipeline.digests["autoencoder"] for artist in artists.values()}
  if len(stages) > 1:
    raise UserError("The two models have different first stages; train both on one.")
  networks = open_networks(("i3d", "alex"))
  for line in networks.missing.values():
    raise UserError(line)
  subjects = open_subjects(
    artists["e"].pipeline, args.data, args.latents, args.num_clips
  )
  study = Study(
    artists,
    subjects,
    networks,
    cache,
    args.seed,
    args.data,
    args.latents,
    args.methods,
    args.long_steps,
    output,
  )
  identity = {
    "version": VERSION,
    "weights": {name: dict(a.pipeline.digests) for name, a in artists.items()},
    "sampling": {name: dataclasses.asdict(a.sampling) for name, a in artists.items()},
    "data": subjects.data,
    "clips": subjects.clip_names,
    "given_beats": subjects.given_key,
    "seed": args.seed,
    "networks": dict(networks.hashes),
    "jax": jax.__version__,
  }
  tables = []
  for name in TITLES:
    path = output / f"{name}.json"
    own = identity
    if name == "steps":
      own = identity | {"methods": args.methods, "long_steps": args.long_steps}
    part = results.read_part(path, own)
    if part is None and name in args.parts:
      compute: Callable[[], Part] = getattr(study, name)
      part = compute()
      results.write_part(path, own, part)
    if part is not None:
      tables.append(results.markdown(TITLES[name], NOTES.get(name), part.rows))
      print(tables[-1], flush=True)
  results.write(output / "claims.md", "\n".join(tables))
  print(output / "claims.md")


def _list(text: str) -> list[str]:
  return [word for word in text.split(",") if word]


def _numbers(text: str) -> list[int]:
  return [int(word) for word in _list(text)]


def make_parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    prog="python -m dabfusion_jax.claims",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  add = parser.add_argument
  add("--checkpoint_e", required=True, help="stage 2 with beats, as for sample")
  add("--checkpoint_b", help="stage 2 without; all that needs it is left out if none")
  add("--data", required=True, help="folder made by data_pipeline.build")
  add("--latents", required=True, help="folder made by dabfusion_jax.latents")
  add("--output", required=True, help="folder for results")
  add("--cache", help="folder of dances and features; OUTPUT/cache by default")
  add("--num_clips", type=int, default=60, help="held-out clips")
  add("--seed", type=int, default=0, help="of dances, shuffles and splits")
  add("--method", help="sampler; the checkpoint's by default")
  add(
    "--num_steps", type=positive_int, help="of the sampler; the checkpoint's by default"
  )
  add("--guidance_scale", type=positive_float, help="the checkpoint's by default")
  add("--parts", type=_list, default=list(TITLES), help="comma-separated")
  add(
    "--methods",
    type=_list,
    default=list(METHODS),
    help="samplers of the part steps",
  )
  add("--long_steps", type=_numbers, default=[250], help="of ddim and ddpm on 16 clips")
  return parser


def main(argv: Sequence[str] | None = None) -> None:
  args = make_parser().parse_args(argv)
  with one_line_errors("claims"):
    run(args)


if __name__ == "__main__":
  main()
