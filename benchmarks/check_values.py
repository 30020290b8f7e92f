r"""Published values of the metrics beside ours, on inputs that anyone can make.

  python -m benchmarks.check_values
  python -m benchmarks.check_values --pictures=PerceptualSimilarity/imgs

Black against white: PSNR, SSIM, LPIPS, and the squared distance of I3D's logits at
several lengths (published for a torch port by
JunyaoHu/common_metrics_on_video_quality, and for the original at 30 frames).
`--pictures` names a folder with the example pictures of
richzhang/PerceptualSimilarity, whose LPIPS its authors state. Networks whose weights
are not imported are named and skipped.
"""

import argparse
import pathlib
import sys
from collections.abc import Iterator, Sequence

import numpy as np

from dabfusion_jax.metrics import image
from dabfusion_jax.metrics.features import i3d, lpips
from dabfusion_jax.pretrained import store
from data_pipeline.media import reader
from data_pipeline.media.errors import MediaError

Row = tuple[str, float, float, float]  # what, published, ours, allowed share

# Frames -> (published, how near ours must be as a share of it).
I3D_DISTANCES = {
  10: (569.230, 5e-3),
  13: (146.366, 5e-3),
  16: (152.918, 5e-3),
  24: (66.063, 5e-3),
  30: (151.39244, 1e-4),  # of the TensorFlow original
}
EXAMPLES = {"ex_p0.png": 0.722, "ex_p1.png": 0.138}  # against ex_ref.png, net alex


def picture_values() -> Iterator[Row]:
  black = np.zeros((1, 64, 64, 3), np.uint8)
  found = image.paired_scores(black, black + 255, include_first=True)
  yield "PSNR, black and white [dB]", 0.0, found["psnr"], 0.0
  yield "SSIM, black and white", 9.9990e-05, found["ssim"], 1e-3
  loaded = store.load(lpips.WEIGHTS["alex"])
  (ours,) = lpips.clip_lpips(loaded, "alex", black, black + 255)
  yield "LPIPS alex, black and white", 0.8140, float(ours), 2e-4


def example_values(folder: pathlib.Path) -> Iterator[Row]:
  loaded = store.load(lpips.WEIGHTS["alex"])
  real = reader.read_image(folder / "ex_ref.png")[None]
  for name, published in EXAMPLES.items():
    (ours,) = lpips.clip_lpips(
      loaded, "alex", reader.read_image(folder / name)[None], real
    )
    yield f"LPIPS alex, {name}", published, float(ours), 4e-3


def video_values() -> Iterator[Row]:
  variables = store.load(i3d.WEIGHTS)
  for length, (published, share) in I3D_DISTANCES.items():
    black = np.zeros((length, 16, 16, 3), np.uint8)
    a, b = (i3d.i3d_logits(variables, x) for x in (black, black + 255))
    ours = float(np.sum((a.astype(np.float64) - b) ** 2))
    yield f"I3D, {length} frames black and white", published, ours, share


def main(argv: Sequence[str] | None = None) -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--pictures", type=pathlib.Path, help="PerceptualSimilarity/imgs")
  args = parser.parse_args(argv)
  sources = [picture_values(), video_values()]
  if args.pictures:
    sources.insert(1, example_values(args.pictures))
  differs = False
  print(f"{'':36} {'published':>12} {'ours':>12}")
  for source in sources:
    try:
      for what, published, ours, share in source:
        is_near = abs(ours - published) <= share * abs(published) + 1e-9
        differs |= not is_near
        verdict = "" if is_near else "  differs"
        print(f"{what:36} {published:12.6g} {ours:12.6g}{verdict}", flush=True)
    except store.MissingWeightsError as error:
      print(f"skipped: {error}")
    except MediaError as error:
      sys.exit(f"check_values: {error}")
  sys.exit(1 if differs else 0)


if __name__ == "__main__":
  main()
