"""CLAP: music and words as vectors of one space; needs the extra `clap`.

Wu et al. 2023 (2211.06687), as `laion/clap-htsat-unfused` of the paper's section 3.3.
The only importer of torch and transformers.
"""

import hashlib
import os
from collections.abc import Sequence
from typing import Any

import librosa
import numpy as np
from jaxtyping import Float32

from data_pipeline.errors import UserError
from data_pipeline.music.beats import MIN_SECONDS, check_audio

HUB_NAME = "laion/clap-htsat-unfused"
VARIABLE = "DABFUSION_CLAP"  # names a folder with the model instead
SAMPLE_RATE = 48_000
WINDOW_SECONDS = 10
_BATCH = 16


class ClapError(UserError):
  """CLAP cannot be used: why, and what to do."""


class ClapEncoder:
  """The audio and the text tower of one CLAP model, on the CPU.

  Music is taken at 48 kHz. Of more than 10 s the first 10 are heard; less is repeated
  as often as it fits whole and filled up with silence (`repeatpad`): 4 s are heard
  twice, then 2 s of nothing.
  """

  name = "clap"
  sample_rate = SAMPLE_RATE

  def __init__(self, path: str | None = None) -> None:
    """Loads the model.

    Args:
      path: a folder that `save_pretrained` wrote, or a name on the hub whose files are
        in the hub's cache. None: `$DABFUSION_CLAP`, else `laion/clap-htsat-unfused`.

    Raises:
      ClapError: the extra or the weights are missing; nothing is downloaded here.
    """
    path = path or os.environ.get(VARIABLE) or HUB_NAME
    try:
      import torch
      import transformers
    except ImportError as error:
      raise ClapError(
        f"The encoder 'clap' needs {error.name}; install the extra: pip install "
        "'dabfusion_jax[clap]'."
      ) from error
    transformers.utils.logging.disable_progress_bar()
    self._torch, self._path = torch, path
    self._transformers = transformers
    try:
      self._model = transformers.ClapModel.from_pretrained(path, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
      raise ClapError(
        f"No weights of CLAP in {path!r}; get them with: hf download {HUB_NAME}, or "
        f"name a folder with --encoder=clap:PATH or ${VARIABLE}."
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
    return {
      "name": self.name,
      "version": 2,  # 1 heard sound that had been at 22,050 Hz
      "size": self.size,
      "weights": self._weights,  # of the audio tower
    }

  def __call__(
    self, audio: Float32[np.ndarray, "s"], sample_rate: int
  ) -> Float32[np.ndarray, "d"]:
    return self.encode_batch([audio], sample_rate)[0]

  def encode_batch(
    self, sounds: Sequence[Float32[np.ndarray, "..."]], sample_rate: int
  ) -> Float32[np.ndarray, "n d"]:
    """Mono sounds to vectors of unit norm.

    Raises:
      ValueError: sound below 0.2 s, or with NaN.
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
        found = self._model.get_audio_features(**inputs)
      vectors.append(_unit(found))
    return np.concatenate(vectors)

  @staticmethod
  def _window(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    check_audio(audio)
    if len(audio) < MIN_SECONDS * sample_rate:
      raise UserError(
        f"{len(audio) / sample_rate:.2f} s of music are too short to encode; "
        f"at least {MIN_SECONDS} s are needed."
      )
    # Cut before the extractor sees it: it would cut at a random place.
    audio = audio[: WINDOW_SECONDS * sample_rate]
    # The resampler may add a sample, with which 4 s would no longer repeat evenly.
    num_samples = len(audio) * SAMPLE_RATE // sample_rate
    audio = librosa.resample(audio, orig_sr=sample_rate, target_sr=SAMPLE_RATE)
    return audio[:num_samples]

  def encode_texts(self, texts: Sequence[str]) -> Float32[np.ndarray, "n d"]:
    """Words to vectors of unit norm in the space of the music.

    Raises:
      ClapError: the model came without its tokenizer.
    """
    try:
      tokenizer = self._transformers.AutoTokenizer.from_pretrained(
        self._path, local_files_only=True
      )
    except (OSError, ValueError, KeyError) as error:
      raise ClapError(
        f"No tokenizer of CLAP in {self._path!r}; get it with: hf download {HUB_NAME}."
      ) from error
    inputs = tokenizer(list(texts), padding=True, return_tensors="pt")
    with self._torch.inference_mode():
      return _unit(self._model.get_text_features(**inputs))


def _unit(found: Any) -> Float32[np.ndarray, "n d"]:
  # Releases differ in whether they return the vectors or an object that holds them.
  vectors = getattr(found, "pooler_output", found).numpy()
  norm = np.linalg.norm(vectors, axis=-1, keepdims=True)
  return (vectors / norm).astype(np.float32)
