r"""Makes a dance video of one picture and a piece of music.

  python -m dabfusion_jax.sample --image=person.jpg --music=song.mp3 --output=dance.mp4
  python -m dabfusion_jax.sample --checkpoint=runs/demo_diffusion --image=person.jpg \
    --music=song.mp3

Without --checkpoint, the bundled weights are used. A person in the picture is cut out
and moved at the picture's own resolution; --drawing=decoder shows the network's frames,
as in the paper. A contact sheet (.png) and every
setting (.json) are written beside the video.
"""

import argparse
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tqdm

from dabfusion_jax.inference import options
from dabfusion_jax.parallel import hardware
from dabfusion_jax.pipeline import DancePipeline
from dabfusion_jax.storage import saved_stage
from data_pipeline import cli, files, weights
from data_pipeline.errors import UserError
from data_pipeline.music import trackers
from data_pipeline.music.beat_network import NAMES


def check_output(path: pathlib.Path, *inputs: str) -> None:
  """Creates the folder of the video, and checks that the video may be written there.

  Raises:
    UserError: a name that does not end in .mp4, files that would overwrite an input or
      what no earlier dance has written, or a place that cannot be written.
  """
  if path.suffix.lower() != ".mp4":
    raise UserError(f"--output={path} must end in .mp4.")
  written = [path, path.with_suffix(".png"), path.with_suffix(".json")]
  resolved = [file.resolve() for file in written]
  for name in inputs:
    if pathlib.Path(name).resolve() in resolved:
      raise UserError(f"--output={path} would overwrite {name}; choose another name.")
  if not _is_dance(written[-1]):
    for file in written[1:]:
      if file.exists():
        raise UserError(f"--output={path} would overwrite {file}; choose another name.")
  files.check_writable(path, is_folder=False)


def _is_dance(path: pathlib.Path) -> bool:
  """Returns whether a file holds the settings of a dance."""
  try:
    return "beat_times" in json.loads(path.read_text())
  except (OSError, ValueError, TypeError):
    return False


def describe_beats(settings: Mapping[str, Any]) -> str | None:
  """Returns a line on the tempo that was heard; None if beats or tempo were given."""
  steps = np.diff(settings["beat_times"])
  if settings["beats"] is not None or settings["bpm"] is not None or not len(steps):
    return None
  tracker, hint = settings["beat_tracker"], ""
  if tracker == trackers.LIBROSA and trackers.best_tracker()[1]:
    hint = f"; crnn hears better, once imported: {' '.join([weights.COMMAND, *NAMES])}"
  bpm = 60 / float(np.median(steps))
  return f"{tracker} heard {bpm:.0f} beats per minute; --bpm=N if that is wrong{hint}"


def make_parser() -> argparse.ArgumentParser:
  """Returns the parser of the command line."""
  parser = cli.make_parser("dabfusion_jax.sample", __doc__)
  add = parser.add_argument
  add("--image", type=cli.path, required=True, help="the picture; any size and format")
  add("--music", type=cli.path, required=True, help="any file with sound")
  add("--output", type=cli.local_path, default="dance.mp4", help="the video")
  add("--checkpoint", type=cli.path, help="workdir of a stage 2, or published folder")
  add(
    "--encoder", help="music encoder of the model; clap:PATH says where its weights are"
  )
  options.add_arguments(parser)
  return parser


def main(argv: Sequence[str] | None = None) -> None:
  args = make_parser().parse_args(argv)
  with cli.one_line_errors("sample"):
    read = (args.image, args.music, args.scene, args.beats)
    check_output(args.output, *filter(None, read))
    hardware.check_backend()
    checkpoint = args.checkpoint or saved_stage.shipped()
    pipeline = DancePipeline.from_pretrained(checkpoint, args.encoder)
    with tqdm.tqdm(desc="sampling", unit="step") as bar:

      def show(done, total):
        bar.total = total
        bar.update(done - bar.n)

      asked = options.from_arguments(args)
      dance = pipeline(args.image, args.music, callback=show, **asked)
    for path in dance.save(args.output):
      print(path)
    line = describe_beats(dance.settings)
    if line is not None:
      print(line)
    for note in dance.notes:
      print(f"note: {note}")


if __name__ == "__main__":
  main()
