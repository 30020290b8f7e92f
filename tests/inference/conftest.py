"""A bundled model whose sampler is a toy, and a song."""

import numpy as np
import pytest
import toys

from dabfusion_jax.pipeline import DancePipeline
from dabfusion_jax.storage import saved_stage
from data_pipeline.synthdance.generate import write_wav


@pytest.fixture(scope="module")
def music(tmp_path_factory):
  path = tmp_path_factory.mktemp("stream") / "song.wav"
  time = np.arange(round(13.37 * 44_100)) / 44_100
  clicks = np.sin(5000 * time) * np.exp(-40 * (time % 0.5))
  write_wav(path, np.repeat(clicks[:, None], 2, 1).astype(np.float32))
  return path


@pytest.fixture(scope="module")
def pipeline():
  return DancePipeline.from_pretrained(saved_stage.shipped())


@pytest.fixture
def toy(monkeypatch):
  sampler = toys.ToySampler()
  monkeypatch.setattr(DancePipeline, "batch_sampler", sampler)
  return sampler
