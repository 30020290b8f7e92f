"""Parses the command line of `data_pipeline.build`."""

import argparse
from collections.abc import Sequence

from data_pipeline import cli, files
from data_pipeline.building.settings import BuildSettings
from data_pipeline.cutting.ingest import ClipFormat
from data_pipeline.cutting.windows import Windows
from data_pipeline.media.framing import FRAMINGS
from data_pipeline.music.tracked import LIBROSA, TRACKERS
from data_pipeline.sources.aist_source import IGNORE, AistSource
from data_pipeline.sources.base import Source
from data_pipeline.sources.folder_source import FolderSource
from data_pipeline.sources.synthdance_source import SynthDanceSource
from data_pipeline.synthdance.presets import PRESETS
from data_pipeline.workers import count_cores

# Pixels for these presets; 128 for all other data.
FRAME_SIZES = {"smoke": 64, "demo": 64, "medium": 64}
# Videos of these presets last up to 8 s. Windows of generated videos begin at random
# places in every split, because windows on the beat grid would reveal the beats. Other
# videos are tested on their first window, as is usual.
TRAIN_WINDOWS = {"demo": "random:2", "medium": "random:2"}
TEST_WINDOWS = {"synthdance": "random:1", "aist": "first", "folder": "first"}


def read_arguments(
  argv: Sequence[str] | None, description: str | None
) -> argparse.Namespace:
  """Parses the arguments; exits with a message if they do not fit together."""
  parser = cli.make_parser("data_pipeline.build", description)
  add = parser.add_argument
  path = cli.path
  add("--source", choices=["synthdance", "aist", "folder"], required=True)
  add("--output", type=path, required=True, help="folder of the data set, or gs://...")
  add("--preset", choices=PRESETS, help="synthdance: which data set")
  add(
    "--videos",
    type=path,
    help="aist, folder: folder of the videos, with its subfolders",
  )
  add(
    "--annotations",
    type=path,
    help="aist: folder of AIST++ with keypoints2d, keypoints3d",
  )
  add(
    "--music",
    type=path,
    help="aist: folder of the tracks; default: the sound of the videos",
  )
  add("--ignore", choices=IGNORE, default="none", help="aist: leave out this list")
  add(
    "--metadata",
    type=path,
    help="folder: csv with file, split, song, genre, dancer, camera",
  )
  add("--test_percent", type=cli.natural_int, default=10, help=(
    "folder: songs kept for testing; a film whose song --metadata "
    "does not tell counts as one"))  # fmt: skip
  add("--split", type=path, default="official", help=(
    "aist, or synthdance with the preset full: test tracks: official, index1, index2 "
    "or a file; aist: also crossmodal"))  # fmt: skip
  add("--frame_size", type=cli.positive_int, help=(
    "pixels; default: 64 for smoke, demo and medium, else 128"))  # fmt: skip
  add("--num_frames", type=cli.positive_int, default=40, help="per clip; default: 40")
  add("--fps", type=cli.positive_int, default=10, help="frames per second; default: 10")
  add("--framing", choices=list(FRAMINGS), default="letterbox", help=(
    "the whole picture, the square in its middle, or the square around what moves (for "
    "a fixed camera); default: letterbox"))  # fmt: skip
  add("--train_windows", help=(
    "first, random:COUNT, strided:SECONDS or spread:SECONDS (as many as strided, at "
    "random places); default: spread over the whole video; synthdance: random:1, or "
    "random:2 for demo and medium"))  # fmt: skip
  add("--test_windows", help="likewise; default: first; synthdance: random:1")
  add("--encoder", default="spectral", help=(
    "of the music: spectral, clap or clap:PATH; default: spectral"))  # fmt: skip
  add("--beat_tracker", choices=TRACKERS, default=LIBROSA, help=(
    "librosa, the paper's; or crnn, a network that hears real songs better and needs "
    "its weights; default: librosa"))  # fmt: skip
  add("--workers", type=cli.positive_int, default=count_cores(), help=(
    "number of processes; default: one per core that the program may use"))  # fmt: skip
  add("--beam", metavar="OPTIONS", help=(
    "build with Apache Beam; options of its pipeline in one string, such as "
    "'--runner=DirectRunner --direct_num_workers=4'"))  # fmt: skip
  args = parser.parse_args(argv)
  if args.source == "synthdance" and args.preset is None:
    parser.error("--source=synthdance needs --preset")
  if args.source != "synthdance" and args.videos is None:
    parser.error(f"--source={args.source} needs --videos")
  if args.beam is not None and files.is_remote(args.output):
    parser.error("--beam needs an --output folder that all its workers can write to")
  return args


def settings_of(args: argparse.Namespace) -> BuildSettings:
  """Returns the settings that the arguments describe.

  Raises:
    UserError: one of them is impossible.
  """
  return BuildSettings(
    source=_source_of(args),
    form=ClipFormat(
      num_frames=args.num_frames,
      fps=args.fps,
      frame_size=args.frame_size or FRAME_SIZES.get(args.preset, 128),
      framing=args.framing,
    ),
    encoder=args.encoder,
    beat_tracker=args.beat_tracker,
    train_windows=Windows.parse(args.train_windows or _train_windows(args)),
    other_windows=Windows.parse(args.test_windows or TEST_WINDOWS[args.source]),
  )


def _source_of(args: argparse.Namespace) -> Source:
  if args.source == "aist":
    return AistSource(
      args.videos, args.split, args.ignore, args.annotations, args.music
    )
  if args.source == "folder":
    return FolderSource(args.videos, args.metadata, args.test_percent)
  return SynthDanceSource(args.preset, args.split)


def _train_windows(args: argparse.Namespace) -> str:
  """Returns the default windows; whole videos are used for training (sec. 4.1)."""
  if args.source == "synthdance":
    return TRAIN_WINDOWS.get(args.preset, "random:1")
  return f"spread:{args.num_frames / args.fps:g}"
