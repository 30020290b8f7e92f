"""The command line of `data_pipeline.build`."""

import argparse
import os
from collections.abc import Sequence

from data_pipeline import files
from data_pipeline.building.video_work import Settings
from data_pipeline.cutting.ingest import ClipFormat
from data_pipeline.cutting.windows import SHORT, Windows
from data_pipeline.media.framing import FRAMINGS
from data_pipeline.sources.aist_source import IGNORE, AistFilm
from data_pipeline.sources.base import Source, SynthDance
from data_pipeline.sources.folder_source import Folder
from data_pipeline.synthdance.presets import PRESETS

# Of generated data; 128 for all other.
FRAME_SIZES = {"smoke": 64, "demo": 64, "medium": 64}
# Videos of these have 8 s. Generated ones begin at random in every split: windows on
# the beat grid would tell the beats. Film is tested on its first window, as is usual.
TRAIN_WINDOWS = {"demo": "random:2", "medium": "random:2"}
TEST_WINDOWS = {"synthdance": "random:1", "aist": "first", "folder": "first"}


def read_arguments(argv: Sequence[str] | None, description: str) -> argparse.Namespace:
  """The arguments of the command; leaves with a message if they make no sense."""
  parser = argparse.ArgumentParser(
    prog="python -m data_pipeline.build",
    description=description,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  add = parser.add_argument
  add("--source", choices=["synthdance", "aist", "folder"], required=True)
  add("--output", required=True, help="folder of the data set, or gs://...")
  add("--preset", choices=PRESETS, help="synthdance: which one")
  add("--videos", help="aist, folder: where the videos are, with subfolders")
  add("--annotations", help="aist: folder of AIST++ with keypoints2d, keypoints3d")
  add("--music", help="aist: folder of tracks; heard from the videos without")
  add("--ignore", choices=IGNORE, default="none", help="aist: the list of AIST++")
  add("--metadata", help="folder: csv with file, split, song, genre, dancer, camera")
  add("--test_percent", type=int, default=10, help="folder: songs kept for testing")
  add("--split", default="official", help=(
    "aist, synthdance: test tracks: official, index1, index2, a file; "
    "aist: crossmodal"))  # fmt: skip
  add("--frame_size", type=int, help="pixels; presets but full: 64; else 128")
  add("--num_frames", type=int, default=40)
  add("--fps", type=int, default=10)
  add("--framing", choices=list(FRAMINGS), default="letterbox", help=(
    "the whole picture; the square in its middle; or that around what moves, for a "
    "camera that stands still"
  ))  # fmt: skip
  add("--short", choices=SHORT, default="drop", help="videos shorter than a clip")
  add("--train_windows", help=(
    "first, random:COUNT, strided:SECONDS or spread:SECONDS (as many, at random); "
    "film: spread over its whole length; synthdance: random:1, or 2 of 8 s"
  ))  # fmt: skip
  add("--test_windows", help="likewise; first, synthdance: random:1")
  add("--encoder", default="spectral", help="of the music: spectral, clap, clap:PATH")
  add("--tempo_prior", action="store_true", help=(
    "tell the beat tracker the tempo in a track's name; not for evaluation"
  ))  # fmt: skip
  add("--workers", type=int, default=os.cpu_count(), help="processes")
  add("--beam", metavar="OPTIONS", help=(
    "generate with Apache Beam: options of its pipeline in one text, e.g. "
    "'--runner=DirectRunner --direct_num_workers=4'"))  # fmt: skip
  args = parser.parse_args(argv)
  if args.source == "synthdance" and args.preset is None:
    parser.error("--source=synthdance needs --preset.")
  if args.source != "synthdance" and args.videos is None:
    parser.error(f"--source={args.source} needs --videos.")
  if args.beam is not None and files.is_remote(args.output):
    parser.error("--beam needs an --output folder that all its workers can write.")
  return args


def options_of(args: argparse.Namespace) -> Settings:
  """The settings of a command; ValueError if one is impossible."""
  source: Source
  if args.source == "aist":
    source = AistFilm(
      args.videos, args.split, args.ignore, args.annotations, args.music
    )  # fmt: skip
  elif args.source == "folder":
    source = Folder(args.videos, args.metadata, args.test_percent)
  else:
    source = SynthDance(args.preset, args.split)
  return Settings(
    source=source,
    form=ClipFormat(
      num_frames=args.num_frames,
      fps=args.fps,
      frame_size=args.frame_size or FRAME_SIZES.get(args.preset, 128),
      framing=args.framing,
      short=args.short,
    ),
    encoder=args.encoder,
    train_windows=Windows.parse(args.train_windows or _train_windows(args)),
    other_windows=Windows.parse(args.test_windows or TEST_WINDOWS[args.source]),
    tempo_prior=args.tempo_prior,
  )


def _train_windows(args: argparse.Namespace) -> str:
  """Of film, as many windows as fit: the whole of it is learnt from (sec. 4.1)."""
  if args.source == "synthdance":
    return TRAIN_WINDOWS.get(args.preset, "random:1")
  return f"spread:{args.num_frames / args.fps:g}"
