"""A style is the direction that the sounds of its training clips share."""

import json

import numpy as np
import pytest
from clip_examples import make_record

from data_pipeline import clip_record
from data_pipeline.clip_record import RecordError
from data_pipeline.style_vectors import style_vectors
from data_pipeline.tfds_builder.dance_clips import write_shards


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
    "settings": {"schema_version": 1, "num_frames": 6, "fps": 10},
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


def test_clips_without_genres_are_one_line(tmp_path):
  write_data(tmp_path, {"train": ["", ""]})
  with pytest.raises(RecordError, match="no training clip has a genre") as error:
    style_vectors(tmp_path)
  assert "\n" not in str(error.value)
