"""A style is the direction that the sounds of its training clips share."""

import json

import numpy as np
import pytest
from clip_examples import make_record

from data_pipeline.building.tfds_builder import write_shards
from data_pipeline.music.encoders import make_encoder
from data_pipeline.records import clip_record
from data_pipeline.records.clip_record import RecordError
from data_pipeline.records.style_vectors import (
  PROMPTS,
  style_vectors,
  text_vectors,
  write_text_vectors,
)


def write_data(folder, genres_by_split):
  """A data set whose clips have these genres, and its records."""
  records = {
    split: [
      make_record(seed, False) | {"genre": genre, "name": f"{split}{seed}"}
      for seed, genre in enumerate(genres)
    ]
    for split, genres in genres_by_split.items()
  }
  coded = {
    split: [(r["name"], clip_record.encode(r)) for r in rows]
    for split, rows in records.items()
  }
  write_shards(folder / "shards", coded["train"][0][1], coded)
  manifest = {
    "settings": {
      "schema_version": clip_record.SCHEMA_VERSION,
      "num_frames": 6,
      "fps": 10,
    },
    "beats": ["librosa"],
    "counts": {split: {"clips": len(rows)} for split, rows in records.items()},
  }
  (folder / "manifest.json").write_text(json.dumps(manifest))
  return records


def test_styles_are_means_of_training_sounds_at_unit_norm(tmp_path):
  genres = {"train": ["BR", "HO", "BR", "", "HO", "BR"], "test": ["BR", "WA"]}
  records = write_data(tmp_path, genres)
  found = style_vectors(tmp_path)
  assert list(found) == ["BR", "HO"]  # no clip without a genre, none of the test
  for genre, vector in found.items():
    mean = np.mean([r["music"] for r in records["train"] if r["genre"] == genre], 0)
    assert vector.shape == (8,) and vector.dtype == np.float32
    np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-6)


class Words:
  """An encoder that tells texts apart."""

  name, size, sample_rate, identity = "words", 3, 100, {}

  def __call__(self, audio, sample_rate): ...

  def encode_batch(self, sounds, sample_rate): ...

  def encode_texts(self, texts):
    vectors = np.array([[len(text), ord(text[0]), 1] for text in texts], np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_words_are_kept_where_the_encoder_has_them(tmp_path):
  manifest = {"settings": {"encoder": {"name": "words"}}, "counts": {}}
  (tmp_path / "manifest.json").write_text(json.dumps(manifest))
  write_text_vectors(tmp_path, make_encoder("spectral"))
  with pytest.raises(RecordError, match="'words' takes no words.*--encoder=clap"):
    text_vectors(tmp_path)
  write_text_vectors(tmp_path, Words())
  found = text_vectors(tmp_path)
  assert found.keys() == PROMPTS.keys()
  for genre, text in PROMPTS.items():
    np.testing.assert_array_equal(found[genre], Words().encode_texts([text])[0])


def test_clips_without_genres_are_one_line(tmp_path):
  write_data(tmp_path, {"train": ["", ""]})
  with pytest.raises(RecordError, match="no training clip has a genre") as error:
    style_vectors(tmp_path)
  assert "\n" not in str(error.value)
