"""Music as one vector: what it sounds like, not when its beats fall.

Every encoder has a name, a version and a size; data sets note all three, and a model
refuses music encoded otherwise than what it was trained on.
"""

import pathlib
from collections.abc import Callable, Iterable
from typing import Protocol, runtime_checkable

import librosa
import numpy as np
from jaxtyping import Float32

from data_pipeline.beats import MIN_SECONDS, check_audio

_CONSTANTS_FOLDER = pathlib.Path(__file__).parent / "constants"


@runtime_checkable  # for the type checks of the tests
class MusicEncoder(Protocol):
  """Sound of any length to a vector of unit norm."""

  name: str
  version: int
  size: int

  def __call__(
    self, audio: Float32[np.ndarray, "s"], sample_rate: int
  ) -> Float32[np.ndarray, "d"]: ...


class SpectralEncoder:
  """Timbre, harmony and rhythm statistics; needs no weights and no network.

  The mean and spread over time of 64 log-mel bands and of the chroma, and the mean
  tempogram up to 3 s of lag; each standardised by its mean and deviation over 4-s
  windows of the 60 generated tracks (`measure_constants`), chroma and tempogram at
  half weight (key and tempo would hide the timbre), projected to 512 by a fixed random
  matrix, scaled to unit norm. Loudness is taken out first.

  Silence is accepted and has one finite vector of its own. Sound below 0.2 s or with
  NaN raises ValueError.
  """

  name = "spectral"
  version = 1
  size = 512

  _sample_rate = 22_050
  _fft_samples = 2048
  _hop_samples = 512
  _num_bands = 64
  _num_lags = 128  # of 23 ms

  def __init__(self) -> None:
    path = _CONSTANTS_FOLDER / f"spectral_v{self.version}.npz"
    with np.load(path, allow_pickle=False) as constants:
      self._mean, self._deviation = constants["mean"], constants["deviation"]
    self._weights = np.where(np.arange(len(self._mean)) < 2 * self._num_bands, 1.0, 0.5)
    # The legacy generator: its stream is frozen for good.
    normal = np.random.RandomState(20_240_515).standard_normal
    self._matrix = normal((len(self._mean), self.size)).astype(np.float32)

  def __call__(
    self, audio: Float32[np.ndarray, "s"], sample_rate: int
  ) -> Float32[np.ndarray, "d"]:
    scores = (self.features(audio, sample_rate) - self._mean) / self._deviation
    # No single odd feature may outweigh all others.
    vector = (np.clip(scores, -4.0, 4.0) * self._weights) @ self._matrix
    return (vector / np.linalg.norm(vector)).astype(np.float32)

  @classmethod
  def features(
    cls, audio: Float32[np.ndarray, "s"], sample_rate: int
  ) -> Float32[np.ndarray, "f"]:
    """The statistics before standardisation."""
    check_audio(audio)
    if len(audio) < MIN_SECONDS * sample_rate:
      raise ValueError(
        f"{len(audio) / sample_rate:.2f} s of music are too short to encode; "
        f"at least {MIN_SECONDS} s are needed."
      )
    if sample_rate != cls._sample_rate:
      audio = librosa.resample(audio, orig_sr=sample_rate, target_sr=cls._sample_rate)
    # Below a ten-thousandth it is silence, and stays so.
    audio = audio / max(float(np.sqrt(np.mean(np.square(audio)))), 1e-4)
    audio = np.pad(audio, (0, max(0, cls._fft_samples - len(audio))))
    spectrum = librosa.stft(audio, n_fft=cls._fft_samples, hop_length=cls._hop_samples)
    power = np.abs(spectrum) ** 2
    mel = librosa.feature.melspectrogram(
      S=power, sr=cls._sample_rate, n_mels=cls._num_bands, fmin=30.0, fmax=10_000.0
    )
    mel = 10.0 * np.log10(mel + 1e-3)  # decibels
    chroma = librosa.feature.chroma_stft(S=power, sr=cls._sample_rate, tuning=0.0)
    strength = np.maximum(np.diff(mel, axis=1), 0.0).mean(0)
    rhythm = librosa.autocorrelate(strength - strength.mean(), max_size=cls._num_lags)
    rhythm = rhythm / max(float(rhythm[0]), 1e-6)
    rhythm = np.pad(rhythm, (0, max(0, cls._num_lags - len(rhythm))))
    parts = (mel.mean(1), mel.std(1), chroma.mean(1), chroma.std(1), rhythm[1:])
    return np.concatenate(parts).astype(np.float32)


def measure_constants(
  songs: Iterable[tuple[Float32[np.ndarray, "s"], int]], path: pathlib.Path
) -> None:
  """Measures what `SpectralEncoder` standardises by, on windows of 4 s.

  Args:
    songs: sound and sample rate of each.
    path: the npz to write; a change is a new `version`.
  """
  rows = []
  for audio, sample_rate in songs:
    length = 4 * sample_rate
    for start in range(0, len(audio) - length + 1, length):
      rows.append(SpectralEncoder.features(audio[start : start + length], sample_rate))
  mean, deviation = np.mean(rows, axis=0), np.std(rows, axis=0)
  np.savez(path, mean=mean, deviation=np.maximum(deviation, 1e-3))


_ENCODERS: dict[str, Callable[[], MusicEncoder]] = {"spectral": SpectralEncoder}


def make_encoder(name: str) -> MusicEncoder:
  """The encoder of that name; ValueError names the known ones."""
  if name not in _ENCODERS:
    raise ValueError(
      f"Unknown music encoder {name!r}; known: {', '.join(sorted(_ENCODERS))}."
    )
  return _ENCODERS[name]()
