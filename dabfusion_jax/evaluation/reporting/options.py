"""Defines the command-line arguments that say what is measured and how."""

import argparse

from dabfusion_jax.evaluation.reading.features import Reading
from dabfusion_jax.evaluation.scoring.catalog import GROUPS
from dabfusion_jax.evaluation.scoring.measure import Settings
from dabfusion_jax.metrics.features import i3d
from dabfusion_jax.settings.autoencoder import MAX_FRAME_SIZE
from data_pipeline import cli
from data_pipeline.music.onsets import LATE_SECONDS


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments that `from_arguments` reads."""
  add, count = parser.add_argument, cli.positive_int
  add("--seed", type=cli.seed, default=0, help="of noise, shuffles and resampling")
  groups = cli.comma_separated(GROUPS)
  add("--metrics", type=groups, default=GROUPS, help=",".join(GROUPS))
  add("--fps", type=cli.positive_float, help="replaces a wrong frame rate")
  add("--num_frames", type=count, help="cut all clips to this length")
  size = cli.at_least(1, MAX_FRAME_SIZE)
  add("--frame_size", type=size, help="resize all clips to this size")
  add("--segment_frames", type=count, help=(
    "for chained clips (Table 7 of the paper): frames per segment, each beginning with"
    " the last frame of the one before, which is dropped with its music"))  # fmt: skip
  add("--fvd_resize", choices=i3d.RESIZES, default="default", help=(
    "how FVD resizes to 224 px; tf1: as the original code does"))  # fmt: skip
  add("--include_first", action="store_true", help=(
    "let frame 0, which the model was given, count in paired scores"))  # fmt: skip
  add("--beats_late_seconds", type=cli.delay, default=LATE_SECONDS, help=(
    "how late tracked beats are; 0 as in the paper, which corrects none"))  # fmt: skip
  add("--poses_late_seconds", type=cli.delay, default=0.0, help=(
    "how late estimated poses are; 0 as in the paper"))  # fmt: skip


def from_arguments(args: argparse.Namespace) -> Settings:
  """Returns the settings of an evaluation."""
  return Settings(
    groups=args.metrics,
    reading=Reading(args.fps, args.num_frames, args.frame_size, args.segment_frames),
    seed=args.seed,
    include_first=args.include_first,
    resize=args.fvd_resize,
    beats_late_seconds=args.beats_late_seconds,
    poses_late_seconds=args.poses_late_seconds,
  )
