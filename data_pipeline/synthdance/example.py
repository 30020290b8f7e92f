"""A picture and a song to try the programs with: generated, so that they are ours."""

import pathlib

from data_pipeline import files
from data_pipeline.aist import ClipName
from data_pipeline.media import writer
from data_pipeline.synthdance import music
from data_pipeline.synthdance.generate import make_clip, write_wav

NAME = "gLO_sBM_c01_d15_mLO2_ch02"  # a dancer and a song that no training has seen
SIZE = 512  # pixels per side
SECONDS = 24.0


def write_example(folder: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
  """Returns the paths of a picture (png) and a song (wav), made unless they exist."""
  folder.mkdir(parents=True, exist_ok=True)
  picture, song = folder / f"{NAME}.png", folder / f"{NAME}.wav"
  name = ClipName.parse(NAME)
  if not picture.is_file():
    clip = make_clip(name, seconds=0.1, frame_size=SIZE)
    writer.write_image(picture, clip.frames[0])
  if not song.is_file():
    with files.whole_file(song) as file:
      write_wav(file, music.render_music(name.music, 0.0, SECONDS))
  return picture, song
