"""A data set keeps the embedding of silence by its encoder."""

import numpy as np
import pytest

from data_pipeline.music.encoders import make_encoder
from data_pipeline.records.clip_record import RecordError
from data_pipeline.records.silence import read_silence, write_silence


def test_the_embedding_of_silence_survives_the_disk(tmp_path):
  encoder = make_encoder("spectral")
  write_silence(tmp_path, encoder)
  silence = read_silence(tmp_path)
  rate = encoder.sample_rate
  np.testing.assert_array_equal(silence, encoder(np.zeros(rate, np.float32), rate))
  assert silence.dtype == np.float32


def test_a_data_set_without_it_is_named(tmp_path):
  with pytest.raises(RecordError, match="has no silence.json.*build it again"):
    read_silence(tmp_path)
