"""CLAP agrees with the library it comes from, on a small model of random weights."""

import json
import sys
import types

import numpy as np
import pytest

from data_pipeline.errors import UserError
from data_pipeline.music.clap import ClapEncoder
from data_pipeline.music.encoders import make_encoder
from data_pipeline.records import loader
from data_pipeline.records.clip_record import RecordError

RATE = 22050
TEXTS = ("Break dance music", "House dance music", "a slow waltz")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  torch = pytest.importorskip("torch")
  transformers = pytest.importorskip("transformers")
  folder = tmp_path_factory.mktemp("clap")
  torch.manual_seed(0)
  words = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *"abcdefghijklmnopqrstuvwxyz"]
  words += ["Ġ" + word for word in words[5:]] + ["Ġ", "-", "Ġ-", *"ABHJKLMPSTVW"]
  (folder / "vocab.json").write_text(json.dumps({w: i for i, w in enumerate(words)}))
  (folder / "merges.txt").write_text("#version: 0.2\n")
  tokenizer = transformers.RobertaTokenizer(
    str(folder / "vocab.json"), str(folder / "merges.txt")
  )
  tokenizer.save_pretrained(folder)
  text = {"vocab_size": len(words), "hidden_size": 16, "num_hidden_layers": 1}
  text |= {"num_attention_heads": 2, "intermediate_size": 16}
  audio = {"patch_embeds_hidden_size": 16, "depths": [1, 1], "hidden_size": 32}
  audio |= {"num_attention_heads": [2, 4], "num_mel_bins": 64, "spec_size": 256}
  config = transformers.ClapConfig(
    text_config=text, audio_config=audio, projection_dim=24
  )
  transformers.ClapModel(config).eval().save_pretrained(folder)
  return str(folder)


@pytest.fixture(scope="module")
def encoder(folder):
  return make_encoder(f"clap:{folder}")


def test_a_tilde_is_the_home_folder(monkeypatch):
  def from_pretrained(path, local_files_only):
    raise OSError(path)

  transformers = types.SimpleNamespace(
    utils=types.SimpleNamespace(
      logging=types.SimpleNamespace(disable_progress_bar=lambda: None)
    ),
    ClapModel=types.SimpleNamespace(from_pretrained=from_pretrained),
  )
  monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace())
  monkeypatch.setitem(sys.modules, "transformers", transformers)
  monkeypatch.setenv("HOME", "/home/me")
  with pytest.raises(UserError, match="no weights of CLAP in '/home/me/x'"):
    make_encoder("clap:~/x")


def noise(seconds, seed=0):
  rng = np.random.default_rng(seed)
  return (0.1 * rng.standard_normal(int(seconds * RATE))).astype(np.float32)


def test_the_embedding_equals_that_of_the_library(folder, encoder):
  import librosa
  import torch
  import transformers

  sound = noise(4)
  at_48 = librosa.resample(sound, orig_sr=RATE, target_sr=48_000)[:192_000]
  by_hand = np.concatenate([at_48, at_48, np.zeros(96_000, np.float32)])
  model = transformers.ClapModel.from_pretrained(folder).eval()
  extractor = transformers.ClapFeatureExtractor(
    truncation="rand_trunc", padding="repeatpad", frequency_min=50
  )
  inputs = extractor([by_hand], sampling_rate=48_000, return_tensors="pt")
  assert inputs["input_features"].shape == (1, 1, 1001, 64)
  with torch.inference_mode():
    expected = model.get_audio_features(**inputs).pooler_output[0].numpy()
  np.testing.assert_allclose(encoder(sound, RATE), expected, atol=2e-6)
  assert not np.allclose(encoder(noise(4, seed=1), RATE), expected, atol=1e-4)


def test_embeddings_have_unit_norm_and_batches_equal_single_ones(encoder):
  sounds = [noise(2), noise(4), noise(13), np.zeros(RATE, np.float32)]
  vectors = encoder.encode_batch(sounds, RATE)
  assert vectors.shape == (4, 24) and vectors.dtype == np.float32
  np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
  for sound, vector in zip(sounds, vectors, strict=True):
    np.testing.assert_allclose(encoder(sound, RATE), vector, atol=2e-6)
  # Of more than ten seconds, always the first ten are used.
  np.testing.assert_array_equal(encoder(sounds[2], RATE), encoder(sounds[2], RATE))
  np.testing.assert_allclose(
    encoder(sounds[2][: 10 * RATE], RATE), vectors[2], atol=2e-6
  )


def test_short_sound_and_nan_are_refused(encoder):
  with pytest.raises(ValueError, match="too short"):
    encoder(noise(0.1), RATE)
  with pytest.raises(ValueError, match="NaN"):
    encoder(np.full(RATE, np.nan, np.float32), RATE)


def test_texts_are_embedded_in_the_same_space(encoder):
  vectors = encoder.encode_texts(TEXTS)
  assert vectors.shape == (3, 24)
  np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
  assert len(np.unique(vectors.round(4), axis=0)) == 3


def test_the_identity_depends_on_the_weights(folder, encoder, tmp_path):
  import torch
  import transformers

  model = transformers.ClapModel.from_pretrained(folder)
  with torch.no_grad():
    next(model.audio_projection.parameters()).add_(1e-3)
  model.save_pretrained(tmp_path)
  other = ClapEncoder(str(tmp_path)).identity
  assert other["weights"] != encoder.identity["weights"]
  assert other | {"weights": 0} == encoder.identity | {"weights": 0}
  manifest = {"settings": {"schema_version": 2, "encoder": encoder.identity}}
  for fine in ("clap", f"clap:{folder}", encoder.identity):
    loader.check_manifest(manifest, {"encoder": fine}, "x")
  for wrong in ("spectral", other):
    with pytest.raises(RecordError, match="encoder is"):
      loader.check_manifest(manifest, {"encoder": wrong}, "x")


def test_missing_packages_and_weights_are_one_line(tmp_path, monkeypatch):
  monkeypatch.setenv("DABFUSION_CLAP", str(tmp_path / "absent"))
  message = r'pip install "dabfusion_jax\[clap\]"|hf download'
  with pytest.raises(UserError, match=message) as error:
    make_encoder("clap")
  assert "\n" not in str(error.value)
