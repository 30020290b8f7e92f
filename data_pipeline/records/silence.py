"""Keeps the embedding of silence beside the clips of a data set."""

import json
import pathlib

import numpy as np
from etils import epath
from jaxtyping import Float32

from data_pipeline.files import write_json
from data_pipeline.music.encoders import MusicEncoder
from data_pipeline.records.clip_record import RecordError

SILENCE = "silence.json"  # in the folder of a data set


def write_silence(data_dir: pathlib.Path, encoder: MusicEncoder) -> None:
  """Writes the embedding of one second of silence."""
  embedding = encoder(np.zeros(encoder.sample_rate, np.float32), encoder.sample_rate)
  write_json(data_dir / SILENCE, embedding.tolist())


def read_silence(data_dir: epath.PathLike) -> Float32[np.ndarray, "d"]:
  """Reads the embedding of silence by the encoder of a data set, unit norm.

  Raises:
    RecordError: the data set does not have it.
  """
  path = epath.Path(data_dir) / SILENCE
  if not path.exists():
    raise RecordError(
      f"{data_dir} has no {SILENCE}, because it was built by an earlier version; build "
      "it again."
    )
  try:
    embedding = np.asarray(json.loads(path.read_text(encoding="utf-8")), np.float32)
  except (ValueError, TypeError, RecursionError):
    embedding = np.zeros(())
  if embedding.ndim != 1:
    raise RecordError(f"{path} is damaged; build the data set again.")
  return embedding
