r"""Draws the README's picture of people: two generated people dance to generated music.

  python docs/make_people_image.py --output=docs/images/people.webp

Needs the weights that find people (docs/weights.md). The people are of the
look `people` of SynthDance, of a split that no training has seen.
"""

import argparse
import pathlib
import tempfile

import numpy as np
import PIL.Image

from dabfusion_jax import DancePipeline
from data_pipeline.aist import ClipName
from data_pipeline.media import writer
from data_pipeline.synthdance import generate, music

# Who dances, and the columns that are shown: the first picture has black bars.
PEOPLE = {
  "gPO_sBM_c01_d12_mPO1_ch02": slice(64, 448),
  "gMH_sBM_c01_d24_mMH3_ch03": slice(None),
}
SONG = "mHO2"
SIZE, HEIGHT = 512, 300  # of the pictures, and as they are shown


def dance(pipe: DancePipeline, name: str, folder: pathlib.Path) -> list[np.ndarray]:
  """Returns the frames of one person's dance, reduced."""
  clip = generate.make_clip(
    ClipName.parse(name), look="people", seconds=0.1, frame_size=SIZE, delay_beats=4
  )
  picture, song = folder / f"{name}.png", folder / f"{SONG}.wav"
  writer.write_image(picture, clip.frames[0][:, PEOPLE[name]])
  generate.write_wav(song, music.render_music(SONG, 0.0, 6.0))
  frames = pipe(picture, song, fps=int(pipe.fps)).frames
  width = round(frames.shape[2] * HEIGHT / frames.shape[1])
  resize = lambda frame: PIL.Image.fromarray(frame).resize((width, HEIGHT))
  return [np.asarray(resize(frame)) for frame in frames]


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--output", type=pathlib.Path, required=True)
  args = parser.parse_args()
  pipe = DancePipeline.from_pretrained("people_e")
  with tempfile.TemporaryDirectory() as folder:
    dances = [dance(pipe, name, pathlib.Path(folder)) for name in PEOPLE]
  frames = [
    PIL.Image.fromarray(np.concatenate(row, axis=1))
    for row in zip(*dances, strict=True)
  ]
  frames[0].save(
    args.output,
    save_all=True,
    append_images=frames[1:],
    duration=round(1000 / pipe.fps),
    loop=0,
    quality=30,
    method=6,
  )


if __name__ == "__main__":
  main()
