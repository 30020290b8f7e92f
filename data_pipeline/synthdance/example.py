"""A picture and a song to begin with, neither of which any training has seen."""

import pathlib

from data_pipeline.aist import ClipName
from data_pipeline.media import writer
from data_pipeline.synthdance import music
from data_pipeline.synthdance.generate import make_clip, write_wav

# By look (`film.LOOKS`).
NAMES = {
  "figures": ClipName.parse("gLO_sBM_c01_d15_mLO2_ch02"),
  "people": ClipName.parse("gMH_sBM_c01_d24_mMH3_ch03"),
}
SIZE = 512  # pixels per side of the picture


def example_inputs(
  folder: pathlib.Path, look: str = "figures"
) -> tuple[pathlib.Path, pathlib.Path]:
  """Returns the files of a picture and a song; what is not there is generated.

  Args:
    folder: where they are kept; it is made.
    look: of the dancer, one of `NAMES`.
  """
  folder.mkdir(parents=True, exist_ok=True)
  name = NAMES[look]
  picture, song = folder / f"{name}.png", folder / f"{name}.wav"
  if not picture.is_file():
    clip = make_clip(name, look=look, seconds=0.1, frame_size=SIZE)
    writer.write_image(picture, clip.frames[0])
  if not song.is_file():
    write_wav(song, music.render_music(name.music))
  return picture, song
