"""Embeds a dance style, in place of a piece of music.

Table 6 of the paper conditions on the words for a style instead of the music. For
encoders that take no words, the mean sound of the style stands in.
"""

import numpy as np
from etils import epath
from jaxtyping import Float32

from data_pipeline.records import loader
from data_pipeline.records.clip_record import RecordError


def style_vectors(data_dir: epath.PathLike) -> dict[str, Float32[np.ndarray, "d"]]:
  """Computes the mean sound of each genre: its mean training embedding, normalised.

  Args:
    data_dir: output of `data_pipeline.build`.

  Returns:
    Embeddings of unit norm by genre (`BR`, ...), for the genres of the training clips.

  Raises:
    RecordError: there is no data set, or none of its training clips has a genre.
  """
  clips = loader.open_clips(data_dir, "train", fields=("genre", "music"))
  embeddings: dict[str, list[np.ndarray]] = {}
  for index in range(len(clips)):
    clip = clips[index]
    if clip["genre"]:
      embeddings.setdefault(clip["genre"], []).append(clip["music"])
  if not embeddings:
    raise RecordError(
      f"{data_dir}: no training clip has a genre; give the column 'genre' in "
      "--metadata and build the data set again."
    )
  means = {genre: np.mean(embeddings[genre], axis=0) for genre in sorted(embeddings)}
  return {
    genre: (mean / np.linalg.norm(mean)).astype(np.float32)
    for genre, mean in means.items()
  }
