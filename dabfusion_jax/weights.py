r"""Pretrained weights of the perceptual loss and of the metrics.

  python -m dabfusion_jax.weights import lpips-alex lpips-vgg16 i3d
  python -m dabfusion_jax.weights import blazepose-detector blazepose-full
  python -m dabfusion_jax.weights import vgg19 --file=vgg19-dcbb9e9d.pth
  python -m dabfusion_jax.weights import clip-vit-b32 --file=model.safetensors
  python -m dabfusion_jax.weights import wav2clip --file=Wav2CLIP.pt

They are written to the folder that the environment variable DABFUSION_WEIGHTS names,
else to `weights/` under the current directory; see `pretrained.store`.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dabfusion_jax.pretrained import pickle_reader
from dabfusion_jax.pretrained.registry import USER_FILES
from dabfusion_jax.pretrained.store import NAMES, WeightsError, import_weights


def main(argv: Sequence[str] | None = None) -> int:
  parser = argparse.ArgumentParser(prog="python -m dabfusion_jax.weights")
  commands = parser.add_subparsers(dest="command", required=True)
  imports = commands.add_parser("import", help="fetch, check and convert weights")
  imports.add_argument("names", nargs="+", choices=NAMES, metavar="NAME")
  imports.add_argument(
    "--file",
    type=Path,
    help=f"a file at hand instead of a download ({', '.join(USER_FILES)}: required)",
  )
  arguments = parser.parse_args(argv)
  if arguments.file and len(arguments.names) > 1:
    parser.error("--file goes with one name")
  try:
    import_weights(arguments.names, arguments.file)
  except (WeightsError, pickle_reader.UnsafePickleError, OSError) as error:
    print(f"error: {error}", file=sys.stderr)
    return 1
  except KeyboardInterrupt:
    print("interrupted; nothing half-written", file=sys.stderr)
    return 130
  return 0


if __name__ == "__main__":
  sys.exit(main())
