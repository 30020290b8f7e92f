"""Wav2CLIP (Wu et al. 2022, 2110.11499): embeds sound in CLIP's space.

A ResNet-18 of the log spectrogram and two linear layers. Parameters are named as in the
file of descriptinc/lyrebird-wav2clip. Upstream normalises spectrograms over the batch;
here each sound is normalised by itself, so that its embedding does not depend on
others.
"""

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import scipy.signal
from jaxtyping import Array, Float

WEIGHTS = "wav2clip"  # for `pretrained.store.load`
SAMPLE_RATE = 16_000
WINDOW_SAMPLES = 512
_HOP_LENGTH_SAMPLES = 353
_STAGES = (64, 128, 256, 512)


def _conv(features: int, size: int, stride: int, name: str) -> nn.Conv:
  return nn.Conv(features, (size, size), stride, size // 2, use_bias=False, name=name)


def _norm(name: str) -> nn.BatchNorm:
  return nn.BatchNorm(use_running_average=True, epsilon=1e-5, name=name)


class Block(nn.Module):
  """Residual block of two 3 x 3 convolutions."""

  features: int
  stride: int = 1

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b _ _ d"]:
    y = nn.relu(_norm("bn1")(_conv(self.features, 3, self.stride, "conv1")(x)))
    y = _norm("bn2")(_conv(self.features, 3, 1, "conv2")(y))
    if self.stride != 1 or x.shape[-1] != self.features:
      x = _conv(self.features, 1, self.stride, "downsample_0")(x)
      x = _norm("downsample_1")(x)
    return nn.relu(x + y)


class Wav2Clip(nn.Module):
  """Embeds normalised spectrograms; embeddings are not of unit length."""

  stages: tuple[int, ...] = _STAGES
  embedding_size: int = 512

  @nn.compact
  def __call__(self, spectrogram: Float[Array, "b f t 1"]) -> Float[Array, "b e"]:
    x = nn.relu(_norm("bn1")(_conv(self.stages[0], 7, 2, "conv1")(spectrogram)))
    x = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
    for i, features in enumerate(self.stages):
      stride = 1 if i == 0 else 2
      x = Block(features, stride, name=f"layer{i + 1}_0")(x)
      x = Block(features, name=f"layer{i + 1}_1")(x)
    x = x.mean(axis=(1, 2))
    x = nn.relu(nn.Dense(self.embedding_size, name="sequential_0")(x))
    return nn.Dense(self.embedding_size, name="sequential_3")(x)


def log_spectrogram(
  audio: Float[np.ndarray, "s"], sample_rate: int
) -> Float[np.ndarray, "257 t"]:
  """Returns the log power spectrogram, normalised to mean 0 and standard deviation 1.

  Raises:
    ValueError: the rate is not 16 kHz, or the sound is shorter than a window.
  """
  if sample_rate != SAMPLE_RATE:
    raise ValueError(f"Wav2CLIP needs sound at {SAMPLE_RATE} Hz, not {sample_rate}.")
  if len(audio) < WINDOW_SAMPLES:
    raise ValueError(
      f"{len(audio)} samples are less than a window of {WINDOW_SAMPLES}."
    )
  padded = np.pad(np.asarray(audio, np.float64), WINDOW_SAMPLES // 2, mode="reflect")
  windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW_SAMPLES)
  hann = scipy.signal.get_window("hann", WINDOW_SAMPLES)
  power = np.abs(np.fft.rfft(windows[::_HOP_LENGTH_SAMPLES] * hann)).T ** 2
  logarithm = np.log(power + 1e-7)
  spread = logarithm.std(ddof=1) + 1e-9
  return np.float32((logarithm - logarithm.mean()) / spread)


@jax.jit
def _embed(
  variables: Mapping, spectrogram: Float[Array, "b f t 1"]
) -> Float[Array, "b 512"]:
  with jax.default_matmul_precision("highest"):  # accelerators default to fewer digits
    return Wav2Clip().apply(variables, spectrogram)


def embed_sound(
  variables: Mapping, audio: Float[np.ndarray, "s"], sample_rate: int
) -> Float[np.ndarray, "512"]:
  """Returns the embedding of a sound; raises like `log_spectrogram`.

  `variables` are those of `pretrained.store.load(WEIGHTS)`.
  """
  spectrogram = log_spectrogram(audio, sample_rate)[None, ..., None]
  return np.asarray(_embed(variables, jnp.asarray(spectrogram)))[0]
