"""A picture and a song to begin with, neither of which any training has seen."""

import pathlib

from data_pipeline.aist import ClipName
from data_pipeline.media import writer
from data_pipeline.synthdance import music
from data_pipeline.synthdance.generate import make_clip, write_wav

NAME = ClipName.parse("gLO_sBM_c01_d15_mLO2_ch02")
SIZE = 512  # pixels per side of the picture


def example_inputs(folder: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
  """Returns the files of a picture and a song; what is not there is generated.

  Args:
    folder: where they are kept; it is made.
  """
  folder.mkdir(parents=True, exist_ok=True)
  picture, song = folder / f"{NAME}.png", folder / f"{NAME}.wav"
  if not picture.is_file():
    clip = make_clip(NAME, seconds=0.1, frame_size=SIZE)
    writer.write_image(picture, clip.frames[0])
  if not song.is_file():
    write_wav(song, music.render_music(NAME.music))
  return picture, song
