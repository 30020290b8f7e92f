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
import pathlib
from collections.abc import Sequence

import tqdm

from dabfusion_jax.inference import options
from dabfusion_jax.pipeline import DancePipeline
from dabfusion_jax.storage import saved_stage
from data_pipeline import cli
from data_pipeline.errors import UserError


def check_output(path: pathlib.Path, *inputs: str) -> None:
  """Creates the folder of the video.

  Raises:
    UserError: a name that does not end in .mp4, or files that would overwrite an input.
  """
  if path.suffix != ".mp4":
    raise UserError(f"--output={path} must end in .mp4.")
  written = {path.with_suffix(end).resolve() for end in (".mp4", ".png", ".json")}
  for name in inputs:
    if pathlib.Path(name).resolve() in written:
      raise UserError(f"--output={path} would overwrite {name}; choose another name.")
  path.parent.mkdir(parents=True, exist_ok=True)


def make_parser() -> argparse.ArgumentParser:
  """Returns the parser of the command line."""
  parser = cli.make_parser("dabfusion_jax.sample", __doc__)
  add = parser.add_argument
  add("--image", required=True, help="the picture; any size and format")
  add("--music", required=True, help="any file with sound")
  add("--output", type=pathlib.Path, default="dance.mp4", help="the video")
  add("--checkpoint", help="workdir of a stage 2, or published folder")
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
    for note in dance.notes:
      print(f"note: {note}")


if __name__ == "__main__":
  main()
