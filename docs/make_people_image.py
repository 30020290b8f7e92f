r"""Draws the README's picture of people: one, and a group, dance to generated music.

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
from dabfusion_jax.inference.subject import ALL
from dabfusion_jax.people.background import clear
from dabfusion_jax.people.segmenter import Person
from data_pipeline.aist import ClipName
from data_pipeline.media import writer
from data_pipeline.synthdance import generate, music

ALONE, ASIDE = "gLO_sBM_c01_d15_mLO2_ch06", 76  # columns left out on both sides
# Clips of the group, and the offset of each person in pixels (x, y).
GROUP = {
  "gMH_sBM_c01_d24_mMH3_ch03": (0, 0),
  "gPO_sBM_c01_d12_mPO1_ch08": (-190, 0),
  "gMH_sFM_c01_d24_mMH3_ch01": (222, 0),
}
SONG = "mHO2"
SIZE, HEIGHT = 512, 208  # of the pictures, and as they are shown
NUM_FRAMES = 24
MARGIN = 150  # by which the place of the group is widened


def render(name: str) -> tuple[np.ndarray, np.ndarray]:
  """Returns a picture of a person, and their mask."""
  clip = generate.make_clip(
    ClipName.parse(name), look="people", seconds=0.1, frame_size=SIZE, delay_beats=4
  )
  return clip.frames[0], clip.truth.part_map[0] > 0


def stand_together() -> np.ndarray:
  """Returns a picture of the group."""
  made = None
  for name, (x, y) in GROUP.items():
    picture, mask = render(name)
    if made is None:
      plate, _ = clear(picture, [Person(mask.astype(np.float32), None, 0)])
      made = np.pad(plate, ((0, 0), (MARGIN, MARGIN), (0, 0)), "symmetric")
    rows, columns = np.nonzero(mask)
    inside = (rows + y >= 0) & (rows + y < SIZE)
    rows, columns = rows[inside], columns[inside]
    made[rows + y, columns + MARGIN + x] = picture[rows, columns]
  return made


def dance(
  pipe: DancePipeline, image: np.ndarray, pick: int | str, folder: pathlib.Path
) -> list[np.ndarray]:
  """Returns the frames of a dance, reduced."""
  picture, song = folder / "picture.png", folder / f"{SONG}.wav"
  writer.write_image(picture, image)
  generate.write_wav(song, music.render_music(SONG, 0.0, 6.0))
  frames = pipe(picture, song, fps=int(pipe.fps), pick=pick).frames
  width = round(frames.shape[2] * HEIGHT / frames.shape[1])
  resize = lambda frame: PIL.Image.fromarray(frame).resize((width, HEIGHT))
  return [np.asarray(resize(frame)) for frame in frames[:NUM_FRAMES]]


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--output", type=pathlib.Path, required=True)
  args = parser.parse_args()
  pipe = DancePipeline.from_pretrained("people_e")
  with tempfile.TemporaryDirectory() as folder:
    pictures = ((render(ALONE)[0][:, ASIDE:-ASIDE], 1), (stand_together(), ALL))
    dances = [dance(pipe, *picture, pathlib.Path(folder)) for picture in pictures]
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
    quality=19,
    minimize_size=True,
    method=6,
  )


if __name__ == "__main__":
  main()
