"""A dance style as one vector, in place of the embedding of a piece of music.

The paper's table 6 conditions on the words of a style in place of the music. Words need
an encoder that has them; for all others the style's mean sound stands in, which is no
text and is not called one.
"""

import pathlib

import numpy as np
from jaxtyping import Float32

from data_pipeline import loader
from data_pipeline.clip_record import RecordError


def style_vectors(
  data_dir: str | pathlib.Path,
) -> dict[str, Float32[np.ndarray, "d"]]:
  """The mean sound of each genre: mean of its training embeddings, to unit norm.

  Args:
    data_dir: folder made by `data_pipeline.build`.

  Returns:
    Vectors by genre (`BR`, ...), of the genres that the training clips name.

  Raises:
    RecordError: no data set there, or none of its training clips has a genre.
  """
  clips = loader.open_clips(data_dir, "train", fields=("genre", "music"))
  sounds: dict[str, list[np.ndarray]] = {}
  for index in range(len(clips)):
    clip = clips[index]
    if clip["genre"]:
      sounds.setdefault(clip["genre"], []).append(clip["music"])
  if not sounds:
    raise RecordError(
      f"{data_dir}: no training clip has a genre; name them with the column 'genre' of "
      "--metadata and build anew."
    )
  means = {genre: np.mean(sounds[genre], axis=0) for genre in sorted(sounds)}
  return {
    genre: (mean / np.linalg.norm(mean)).astype(np.float32)
    for genre, mean in means.items()
  }
