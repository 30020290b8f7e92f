"""A dance style as one vector, in place of the embedding of a piece of music.

The paper's table 6 conditions on the words of a style in place of the music. Words need
an encoder that has them; a data set made with one keeps them. For all others the
style's mean sound stands in, which is no text and is not called one.
"""

import json
import pathlib

import numpy as np
from etils import epath
from jaxtyping import Float32

from data_pipeline import aist
from data_pipeline.building import data_set
from data_pipeline.music.encoders import MusicEncoder
from data_pipeline.records import loader
from data_pipeline.records.clip_record import RecordError

TEXTS = "texts.json"  # in the folder of a data set
SILENCE = "silence.json"
# The paper gives no wording.
PROMPTS = {genre: f"{name} dance music" for genre, name in aist.GENRES.items()}


def write_silence(data_dir: pathlib.Path, encoder: MusicEncoder) -> None:
  """Writes what an encoder makes of a second of silence."""
  vector = encoder(np.zeros(encoder.sample_rate, np.float32), encoder.sample_rate)
  data_set.write_json(data_dir / SILENCE, vector.tolist())


def silence_vector(data_dir: epath.PathLike) -> Float32[np.ndarray, "d"]:
  """What the encoder of a data set makes of silence, at unit norm.

  Raises:
    RecordError: the data set does not say.
  """
  path = epath.Path(data_dir) / SILENCE
  if not path.exists():
    raise RecordError(
      f"{data_dir} has no {SILENCE}: it was built before that was kept; build it anew."
    )
  return np.asarray(json.loads(path.read_text(encoding="utf-8")), np.float32)


def write_text_vectors(data_dir: pathlib.Path, encoder: MusicEncoder) -> None:
  """Writes what an encoder makes of `PROMPTS`; nothing, if it takes no words."""
  if not hasattr(encoder, "encode_texts"):
    return
  vectors = encoder.encode_texts(list(PROMPTS.values()))
  content = {
    genre: {"text": text, "vector": vector.tolist()}
    for (genre, text), vector in zip(PROMPTS.items(), vectors, strict=True)
  }
  data_set.write_json(data_dir / TEXTS, content)


def text_vectors(
  data_dir: str | pathlib.Path,
) -> dict[str, Float32[np.ndarray, "d"]]:
  """What the encoder of a data set makes of the words for each genre, at unit norm.

  Raises:
    RecordError: no data set there, or its encoder takes no words.
  """
  encoder = loader.read_manifest(data_dir)["settings"]["encoder"]["name"]
  path = pathlib.Path(data_dir) / TEXTS
  if not path.is_file():
    raise RecordError(
      f"{data_dir} has no {TEXTS}: its music encoder {encoder!r} takes no words, or it "
      "was built before they were kept; build it with --encoder=clap."
    )
  content = json.loads(path.read_text(encoding="utf-8"))
  return {
    genre: np.asarray(entry["vector"], np.float32) for genre, entry in content.items()
  }


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
