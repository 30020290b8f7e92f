"""The vector of a style is the mean direction of its training embeddings."""

import json

import numpy as np
import pytest
from clip_examples import make_record

from data_pipeline.building.tfds_builder import write_shards
from data_pipeline.records import clip_record
from data_pipeline.records.clip_record import RecordError
from data_pipeline.records.style_vectors import style_vectors


def write_data(folder, genres_by_split):
  """Writes a data set whose clips have these genres, and returns its records."""
  records = {
    split: [
      make_record(seed, False) | {"genre": genre, "name": f"{split}{seed}"}
      for seed, genre in enumerate(genres)
    ]
    for split, genres in genres_by_split.items()
  }
  encoded = {
    split: [(clip["name"], clip_record.encode(clip)) for clip in clips]
    for split, clips in records.items()
  }
  write_shards(folder / "shards", encoded["train"][0][1], encoded)
  manifest = {
    "settings": {
      "schema_version": clip_record.SCHEMA_VERSION,
      "num_frames": 6,
      "fps": 10,
    },
    "beats": ["librosa"],
    "counts": {split: {"clips": len(clips)} for split, clips in records.items()},
  }
  (folder / "manifest.json").write_text(json.dumps(manifest))
  return records


def test_style_vectors_are_mean_training_embeddings_at_unit_norm(tmp_path):
  genres = {"train": ["BR", "HO", "BR", "", "HO", "BR"], "test": ["BR", "WA"]}
  records = write_data(tmp_path, genres)
  vectors = style_vectors(tmp_path)
  assert list(vectors) == ["BR", "HO"]  # without test clips and clips without a genre
  for genre, vector in vectors.items():
    mean = np.mean([r["music"] for r in records["train"] if r["genre"] == genre], 0)
    assert vector.shape == (8,) and vector.dtype == np.float32
    np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-6)


def test_clips_without_genres_are_one_line(tmp_path):
  write_data(tmp_path, {"train": ["", ""]})
  with pytest.raises(RecordError, match="no training clip has a genre") as error:
    style_vectors(tmp_path)
  assert "\n" not in str(error.value)
