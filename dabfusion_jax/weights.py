r"""Imports pretrained weights: of losses, measures, pictures of people, and beats.

  python -m dabfusion_jax.weights import lpips-alex lpips-vgg16 i3d
  python -m dabfusion_jax.weights import blazepose-detector blazepose-full
  python -m dabfusion_jax.weights import beatnet-1 beatnet-2 beatnet-3
  python -m dabfusion_jax.weights import vgg19 --file=vgg19-dcbb9e9d.pth
  python -m dabfusion_jax.weights import clip-vit-b32 --file=model.safetensors
  python -m dabfusion_jax.weights import wav2clip --file=Wav2CLIP.pt

They are written to the folder named by the environment variable DABFUSION_WEIGHTS, or
else to `weights/` under the current directory; see `pretrained.store`.
"""

from collections.abc import Sequence

from dabfusion_jax.pretrained.registry import USER_FILES
from dabfusion_jax.pretrained.store import NAMES, import_weights
from data_pipeline import cli


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the command."""
  parser = cli.make_parser("dabfusion_jax.weights", __doc__)
  commands = parser.add_subparsers(dest="command", required=True)
  imports = commands.add_parser("import", help="fetch, check and convert weights")
  imports.add_argument("names", nargs="+", choices=NAMES, metavar="NAME")
  imports.add_argument(
    "--file",
    type=cli.local_path,
    help=f"use this file, download nothing ({', '.join(USER_FILES)}: required)",
  )
  args = parser.parse_args(argv)
  if args.file and len(args.names) > 1:
    parser.error("--file can be used with one name only")
  with cli.one_line_errors("weights"):
    import_weights(args.names, args.file)


if __name__ == "__main__":
  main()
