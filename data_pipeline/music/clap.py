"""Embeds music and text in one space with CLAP; needs the extra `clap`.

Source: Wu et al. 2023 (2211.06687); the paper uses `laion/clap-htsat-unfused` (sec.
3.3). Only this module imports torch and transformers.
"""

import hashlib
import os
from collections.abc import Sequence
from typing import Any

import librosa
import numpy as np
from jaxtyping import Float32

from data_pipeline.errors import UserError
from data_pipeline.extras import needs_extra
from data_pipeline.music.beats import MIN_SECONDS, check_audio

HUB_NAME = "laion/clap-htsat-unfused"
VARIABLE = "DABFUSION_CLAP"  # environment variable with another folder or name
SAMPLE_RATE = 48_000
WINDOW_SECONDS = 10
_BATCH = 16


class ClapError(UserError):
  """CLAP cannot be used: why, and what to do about it."""


class ClapEncoder:
  """Runs the audio and the text tower of a CLAP model on the CPU.

  Music is resampled to 48 kHz. Only the first 10 s are used; shorter music is repeated
  as often as it fits whole and padded with silence (`repeatpad`): 4 s are repeated once
  and followed by 2 s of silence.
  """

  name = "clap"
  sample_rate = SAMPLE_RATE

  def __init__(self, path: str | None = None) -> None:
    """Loads the model.

    Args:
      path: a folder written by `save_pretrained`, or a name on the hub whose files are
        in the hub's cache. None: `$DABFUSION_CLAP`, or `laion/clap-htsat-unfused`.

    Raises:
      UserError: the extra `clap` is missing.
      ClapError: the weights are missing; nothing is downloaded here.
    """
    path = os.path.expanduser(path or os.environ.get(VARIABLE) or HUB_NAME)
    with needs_extra("clap"):
      import torch
      import transformers
    transformers.utils.logging.disable_progress_bar()
    self._torch, self._path = torch, path
    self._transformers = transformers
    try:
      self._model = transformers.ClapModel.from_pretrained(path, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
      raise ClapError(
        f"There are no weights of CLAP in {path!r}; get them with: hf download "
        f"{HUB_NAME}, or name their folder with --encoder=clap:PATH or ${VARIABLE}."
      ) from error
    self._model.eval()
    self._extractor = transformers.ClapFeatureExtractor(
      truncation="rand_trunc", padding="repeatpad", frequency_min=50
    )
    self.size = int(self._model.config.projection_dim)
    digest = hashlib.sha256()
    for key, value in sorted(self._model.state_dict().items()):
      if key.startswith("audio_"):
        digest.update(key.encode() + value.numpy().tobytes())
    self._weights = digest.hexdigest()[:16]

  @property
  def identity(self) -> dict[str, Any]:
    """Returns name, version, size, and a hash of the weights."""
    return {
      "name": self.name,
      "version": 2,  # version 1 encoded sound that had been at 22,050 Hz
      "size": self.size,
      "weights": self._weights,  # of the audio tower
    }

  def __call__(
    self, audio: Float32[np.ndarray, "s"], sample_rate: int
  ) -> Float32[np.ndarray, "d"]:
    """Returns the embedding of mono sound; see `encode_batch`."""
    return self.encode_batch([audio], sample_rate)[0]

  def encode_batch(
    self, sounds: Sequence[Float32[np.ndarray, "..."]], sample_rate: int
  ) -> Float32[np.ndarray, "n d"]:
    """Returns the embeddings of mono sounds, at unit norm.

    Raises:
      UserError: a sound is shorter than 0.2 s, or contains NaN.
    """
    windows = [self._window(sound, sample_rate) for sound in sounds]
    vectors = []
    for start in range(0, len(windows), _BATCH):
      inputs = self._extractor(
        windows[start : start + _BATCH],
        sampling_rate=SAMPLE_RATE,
        return_tensors="pt",
      )
      with self._torch.inference_mode():
        features = self._model.get_audio_features(**inputs)
      vectors.append(_normalise(features))
    return np.concatenate(vectors)

  @staticmethod
  def _window(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    check_audio(audio)
    if len(audio) < MIN_SECONDS * sample_rate:
      raise UserError(
        f"{len(audio) / sample_rate:.2f} s of music are too short to encode; give at "
        f"least {MIN_SECONDS} s."
      )
    # Cut here, because the extractor would cut at a random place.
    audio = audio[: WINDOW_SECONDS * sample_rate]
    # The resampler may add a sample, and then 4 s would no longer repeat evenly.
    num_samples = len(audio) * SAMPLE_RATE // sample_rate
    audio = librosa.resample(audio, orig_sr=sample_rate, target_sr=SAMPLE_RATE)
    return audio[:num_samples]

  def encode_texts(self, texts: Sequence[str]) -> Float32[np.ndarray, "n d"]:
    """Returns the embeddings of texts in the space of the music, at unit norm.

    Raises:
      ClapError: the model has no tokenizer.
    """
    try:
      tokenizer = self._transformers.AutoTokenizer.from_pretrained(
        self._path, local_files_only=True
      )
    except (OSError, ValueError, KeyError) as error:
      raise ClapError(
        f"There is no tokenizer of CLAP in {self._path!r}; get it with: hf download "
        f"{HUB_NAME}."
      ) from error
    inputs = tokenizer(list(texts), padding=True, return_tensors="pt")
    with self._torch.inference_mode():
      return _normalise(self._model.get_text_features(**inputs))


def _normalise(features: Any) -> Float32[np.ndarray, "n d"]:
  # Some releases return the vectors, others an object that contains them.
  vectors = getattr(features, "pooler_output", features).numpy()
  norm = np.linalg.norm(vectors, axis=-1, keepdims=True)
  return (vectors / norm).astype(np.float32)
