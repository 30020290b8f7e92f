r"""Draws the moving picture of the README from an export of the bundled weights.

  python -m dabfusion_jax.export --checkpoint=dabfusion_jax/demo_weights/dance_e \
    --data=data/synthdance_demo --num_clips=4 --output=exports/readme
  python docs/make_images.py --export=exports/readme --output=docs/images/dances.webp
"""

import argparse
import pathlib

import numpy as np
import PIL.Image

SCALE = 2  # of the 64 px that the weights make


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--export", type=pathlib.Path, required=True)
  parser.add_argument("--output", type=pathlib.Path, required=True)
  args = parser.parse_args()
  clips = [np.load(path) for path in sorted(args.export.glob("samples/*.npz"))]
  frames = np.concatenate([clip["frames"] for clip in clips], axis=2)
  height, width = frames.shape[1:3]
  size = (width * SCALE, height * SCALE)
  pictures = [
    PIL.Image.fromarray(frame).resize(size, PIL.Image.LANCZOS) for frame in frames
  ]
  pictures[0].save(
    args.output,
    save_all=True,
    append_images=pictures[1:],
    duration=round(1000 / float(clips[0]["fps"])),
    loop=0,
    quality=15,
    method=6,
  )


if __name__ == "__main__":
  main()
