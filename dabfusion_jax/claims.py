r"""Checks trained models against a list of expected properties, on generated data.

  python -m dabfusion_jax.claims --checkpoint_e=runs/dance_e \
    --checkpoint_b=runs/dance_b --data=data/synthdance_medium \
    --latents=data/medium_latents --output=runs/claims

The two models, one that follows beats and one that does not, share one stage 1. The
data are generated, so their truth is known. Every value stands beside the number of
clips, its standard error by sequence, the value of real clips, and its null; what is
expected of it, and why, is listed in `evaluation/study/expectations.py`. --parts:

  stage1        rebuilt frames, and the flow against the true motion of the body
  beats         alignment of dances and real clips with the true beats
  control       beats that are moved, at other tempi, and silence
  models, trackers, lengths, groups, styles   the paper's comparisons in miniature
  steps         few steps of every sampler, and long runs on fewer clips
  replay        distance to the nearest training clip

Each part writes OUTPUT/PART.json; claims.md holds the tables of all finished parts, and
steps.svg a chart. The same command continues after an interruption.
"""

import argparse
from collections.abc import Sequence

from dabfusion_jax.diffusion.samplers import METHODS
from dabfusion_jax.evaluation.reading.cache import FeatureCache
from dabfusion_jax.evaluation.study import claim
from dabfusion_jax.evaluation.study.held_out import MIN_SEQUENCES
from dabfusion_jax.evaluation.study.parts import PARTS
from dabfusion_jax.evaluation.study.study import open_study
from dabfusion_jax.parallel import hardware
from dabfusion_jax.parallel.compiled import keep_compiled
from data_pipeline import cli, files
from data_pipeline.locks import hold_folder


def run(args: argparse.Namespace) -> None:
  """Measures the parts that are missing, prints all tables and writes claims.md."""
  output = args.output
  files.check_writable(output, is_folder=True)
  names = ("method", "num_inference_steps", "guidance_scale")
  changes = {name: getattr(args, name) for name in names if getattr(args, name)}
  study = open_study(
    {"e": args.checkpoint_e, "b": args.checkpoint_b},
    args.data,
    args.latents,
    FeatureCache(args.cache or output / "cache"),
    num_clips=args.num_clips,
    sampling=changes,
    seed=args.seed,
    methods=args.methods,
    long_steps=args.long_steps,
  )
  tables = []
  for name, part in PARTS.items():
    path, identity = output / f"{name}.json", study.identity(name)
    claims = claim.read_claims(path, identity)
    if claims is None and name in args.parts:
      measured = part.measure(study)
      measured.write(path, identity)
      claims = measured.claims
    if claims is not None:
      note = [part.note, ""] if part.note else []
      table = claim.as_markdown(name, claims)
      tables.append("\n".join([f"### {part.title}", "", *note, table]))
      print(tables[-1], flush=True)
  files.write_text(output / "claims.md", "\n".join(tables))
  print(output / "claims.md")


def step_numbers(text: str) -> tuple[int, ...]:
  """Parses numbers of steps separated by commas, as a `type` of argparse."""
  return tuple(cli.positive_int(number) for number in text.split(","))


def make_parser() -> argparse.ArgumentParser:
  """Returns the parser of the command line."""
  parser = cli.make_parser("dabfusion_jax.claims", __doc__)
  add, count = parser.add_argument, cli.positive_int
  path = cli.path
  add(
    "--checkpoint_e",
    type=path,
    required=True,
    help="stage 2 that follows beats, as for sample",
  )
  add(
    "--checkpoint_b",
    type=path,
    help="stage 2 that does not; default: no comparison with it",
  )
  add("--data", type=path, required=True, help="folder made by data_pipeline.build")
  add(
    "--latents",
    type=path,
    required=True,
    help="folder made by dabfusion_jax.latents",
  )
  add("--output", type=cli.local_path, required=True, help="folder for results")
  add(
    "--cache",
    type=cli.local_path,
    help="folder of dances and features; default: OUTPUT/cache",
  )
  add(
    "--num_clips", type=cli.at_least(MIN_SEQUENCES), default=60, help="held-out clips"
  )
  add("--seed", type=cli.seed, default=0, help="of noise, shuffles and splits")
  add("--method", choices=METHODS, help="sampler; default: the checkpoint's")
  add("--num_inference_steps", type=count, help="default: the checkpoint's")
  add("--guidance_scale", type=cli.positive_float, help="default: the checkpoint's")
  add("--parts", type=cli.comma_separated(PARTS), default=tuple(PARTS), help="which")
  add("--methods", type=cli.comma_separated(METHODS), default=METHODS, help=(
    "samplers of the part steps"))  # fmt: skip
  add("--long_steps", type=step_numbers, default=(250,), help=(
    "numbers of steps of the long runs in the part steps"))  # fmt: skip
  return parser


def main(argv: Sequence[str] | None = None) -> None:
  args = make_parser().parse_args(argv)
  with cli.one_line_errors("claims"), hold_folder(args.output):
    hardware.check_backend()
    keep_compiled()
    run(args)


if __name__ == "__main__":
  main()
