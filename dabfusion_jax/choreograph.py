r"""Stands the person of a picture into a scene, as the first frame of a dance.

  python -m dabfusion_jax.choreograph --person=photo.jpg --scene=studio --output=ref.png
  python -m dabfusion_jax.choreograph --person=photo.jpg --scene=frame.png \
    --output=ref.png

The person is cut out, scaled, and put where a dancer stands (paper, section 4.4): in a
plain studio, in the place of the dancer of another picture, or in the own picture, cut
to a dancer's frame. `dabfusion_jax.sample` does the same by itself (--scene).
"""

import argparse
from collections.abc import Sequence

from dabfusion_jax.inference import inputs, layers
from data_pipeline import cli, files
from data_pipeline.errors import UserError
from data_pipeline.media import reader, writer

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


def make_parser() -> argparse.ArgumentParser:
  """Returns the parser of the command line."""
  parser = cli.make_parser("dabfusion_jax.choreograph", __doc__)
  add = parser.add_argument
  add(
    "--person",
    type=cli.path,
    required=True,
    help="picture of the person; any size and format",
  )
  add(
    "--scene",
    type=cli.path,
    default=layers.OWN,
    help="own, studio, or a picture of a dancer",
  )
  add("--pick", type=cli.positive_int, default=1, help="which person; 1: the largest")
  size = cli.at_least(reader.MIN_IMAGE_SIZE)
  add("--size", type=size, help="pixels of the longer side")
  add("--output", type=cli.local_path, default="ref.png", help="the picture to write")
  return parser


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the program."""
  args = make_parser().parse_args(argv)
  with cli.one_line_errors("choreograph"):
    if args.output.suffix.lower() not in _SUFFIXES:
      raise UserError(f"--output={args.output} must end in {', '.join(_SUFFIXES)}.")
    if args.output.exists() and args.output.stat().st_size:
      raise UserError(
        f"--output={args.output} exists; remove it or choose another name."
      )
    files.check_writable(args.output, is_folder=False)
    picture = inputs.read_picture(args.person)
    made, notes = layers.choreograph(picture, args.scene, args.pick, args.size)
    writer.write_image(args.output, made)
    print(args.output)
    for note in notes:
      print(f"note: {note}")


if __name__ == "__main__":
  main()
