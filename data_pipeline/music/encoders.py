"""Embeds music as one vector: how it sounds, not when its beats are.

Every encoder has a name, a version and a size. Data sets record all three, and a model
refuses music that is encoded differently from what it was trained on.
"""

import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import librosa
import numpy as np
from jaxtyping import Float32

from data_pipeline.errors import UserError
from data_pipeline.media.framing import Number
from data_pipeline.music.numba_cache import compile_librosa
from data_pipeline.music.onsets import MIN_SECONDS, check_audio

_CONSTANTS_FOLDER = pathlib.Path(__file__).parent / "constants"


@runtime_checkable  # for the type checks of the tests
class MusicEncoder(Protocol):
  """Embeds sound of any length as a vector of unit norm.

  An encoder that also takes text has `encode_texts(texts) -> float32 [n d]`.

  Attributes:
    name: of the encoder.
    size: of the vectors.
    sample_rate: at which to give it sound; sound at other rates is resampled, which
      loses quality.
  """

  name: str
  size: int
  sample_rate: int

  @property
  def identity(self) -> dict[str, Any]:
    """Returns what data sets record; encoders of other identities are not mixed."""
    ...

  def __call__(
    self, audio: Float32[np.ndarray, "s"], sample_rate: int
  ) -> Float32[np.ndarray, "d"]:
    """Returns the embedding of mono sound."""
    ...

  def encode_batch(
    self, sounds: Sequence[Float32[np.ndarray, "..."]], sample_rate: int
  ) -> Float32[np.ndarray, "n d"]:
    """Returns the embeddings of several mono sounds."""
    ...


class SpectralEncoder:
  """Embeds music by statistics of timbre, harmony and rhythm, without any weights.

  The statistics are mean and standard deviation over time of 64 log-mel bands and of
  the chroma, and the mean tempogram up to 3 s of lag. Each is standardised by its mean
  and deviation over 4-s windows of the 60 generated tracks (`measure_constants`);
  chroma and tempogram have half the weight, because key and tempo would hide the
  timbre. A fixed random matrix projects them to 512 values of unit norm. Loudness is
  normalised first.

  Silence has a finite embedding of its own. Sound that is shorter than 0.2 s or
  contains NaN raises UserError.
  """

  name = "spectral"
  version = 1
  size = 512
  sample_rate = 22_050

  _fft_samples = 2048
  _hop_samples = 512
  _num_bands = 64
  _num_lags = 128  # of 23 ms

  def __init__(self) -> None:
    path = _CONSTANTS_FOLDER / f"spectral_v{self.version}.npz"
    with np.load(path, allow_pickle=False) as constants:
      self._mean, self._deviation = constants["mean"], constants["deviation"]
    self._weights = np.where(np.arange(len(self._mean)) < 2 * self._num_bands, 1.0, 0.5)
    # The legacy generator, whose stream of numbers will never change.
    normal = np.random.RandomState(20_240_515).standard_normal
    self._matrix = normal((len(self._mean), self.size)).astype(np.float32)

  @property
  def identity(self) -> dict[str, Any]:
    """Returns name, version and size."""
    return {"name": self.name, "version": self.version, "size": self.size}

  def __call__(
    self, audio: Float32[np.ndarray, "s"], sample_rate: int
  ) -> Float32[np.ndarray, "d"]:
    """Returns the embedding of mono sound."""
    scores = (self.features(audio, sample_rate) - self._mean) / self._deviation
    # Clipped, so that no single outlier outweighs all other features.
    vector = (np.clip(scores, -4.0, 4.0) * self._weights) @ self._matrix
    return (vector / np.linalg.norm(vector)).astype(np.float32)

  def encode_batch(
    self, sounds: Sequence[Float32[np.ndarray, "..."]], sample_rate: int
  ) -> Float32[np.ndarray, "n d"]:
    """Returns the embeddings of several mono sounds."""
    return np.stack([self(sound, sample_rate) for sound in sounds])

  @classmethod
  def features(
    cls, audio: Float32[np.ndarray, "s"], sample_rate: int
  ) -> Float32[np.ndarray, "f"]:
    """Returns the statistics before standardisation."""
    check_audio(audio)
    if len(audio) < MIN_SECONDS * sample_rate:
      raise UserError(
        f"{len(audio) / sample_rate:.2f} s of music are too short to encode; give at "
        f"least {MIN_SECONDS} s."
      )
    if sample_rate != cls.sample_rate:
      audio = librosa.resample(audio, orig_sr=sample_rate, target_sr=cls.sample_rate)
    # Sound below a ten-thousandth is silence, and is not amplified.
    audio = audio / max(float(np.sqrt(np.mean(np.square(audio)))), 1e-4)
    audio = np.pad(audio, (0, max(0, cls._fft_samples - len(audio))))
    compile_librosa()
    spectrum = librosa.stft(audio, n_fft=cls._fft_samples, hop_length=cls._hop_samples)
    power = np.abs(spectrum) ** 2
    mel = librosa.feature.melspectrogram(
      S=power, sr=cls.sample_rate, n_mels=cls._num_bands, fmin=30.0, fmax=10_000.0
    )
    mel = 10.0 * np.log10(mel + 1e-3)  # decibels
    chroma = librosa.feature.chroma_stft(S=power, sr=cls.sample_rate, tuning=0.0)
    strength = np.maximum(np.diff(mel, axis=1), 0.0).mean(0)
    rhythm = librosa.autocorrelate(strength - strength.mean(), max_size=cls._num_lags)
    rhythm = rhythm / max(float(rhythm[0]), 1e-6)
    rhythm = np.pad(rhythm, (0, max(0, cls._num_lags - len(rhythm))))
    statistics = (mel.mean(1), mel.std(1), chroma.mean(1), chroma.std(1), rhythm[1:])
    return np.concatenate(statistics).astype(np.float32)


def cut_window(
  audio: Float32[np.ndarray, "s *channels"],
  sample_rate: int,
  start_seconds: Number,
  seconds: Number,
) -> Float32[np.ndarray, "n *channels"]:
  """Cuts the window of a clip, padded with silence to exactly `seconds`.

  Training and sampling both cut here, at the rate of the encoder, so that a model gets
  the same music in both.
  """
  first, length = round(start_seconds * sample_rate), round(seconds * sample_rate)
  window = audio[first : first + length]
  missing = length - len(window)
  return np.pad(window, ((0, missing),) + ((0, 0),) * (audio.ndim - 1))


def measure_constants(
  songs: Iterable[tuple[Float32[np.ndarray, "s"], int]], path: pathlib.Path
) -> None:
  """Measures the constants of `SpectralEncoder` on windows of 4 s.

  Args:
    songs: sound and sample rate of each.
    path: the npz to write; a change needs a new `version`.
  """
  features = []
  for audio, sample_rate in songs:
    length = 4 * sample_rate
    for start in range(0, len(audio) - length + 1, length):
      window = audio[start : start + length]
      features.append(SpectralEncoder.features(window, sample_rate))
  mean, deviation = np.mean(features, axis=0), np.std(features, axis=0)
  np.savez(path, mean=mean, deviation=np.maximum(deviation, 1e-3))


def make_encoder(name: str) -> MusicEncoder:
  """Makes the encoder of that name.

  Args:
    name: `spectral`; `clap` (laion/clap-htsat-unfused from the hub's cache); or
      `clap:PATH` with the folder of a CLAP model.

  Raises:
    UserError: the name is unknown, or its weights or packages are missing.
  """
  kind, _, path = name.partition(":")
  if kind == "clap":
    from data_pipeline.music.clap import ClapEncoder  # needs the extra `clap`

    return ClapEncoder(path or None)
  if name != "spectral":
    raise UserError(
      f"Unknown music encoder {name!r}; known: clap, clap:PATH, spectral."
    )
  return SpectralEncoder()


def make_same_encoder(
  identity: Mapping[str, Any], name: str | None = None
) -> MusicEncoder:
  """Makes the encoder that a data set or model was made with.

  Args:
    identity: as recorded there.
    name: as for `make_encoder`, to say where the weights are; the recorded name if
      None.

  Raises:
    UserError: there is no such encoder, or its weights or version differ.
  """
  name = name or identity["name"]
  if (kind := name.partition(":")[0]) != identity["name"]:
    raise UserError(
      f"The model was trained with the music encoder {identity['name']!r}, not with "
      f"{kind!r}."
    )
  encoder = make_encoder(name)
  if encoder.identity != dict(identity):
    differing = [
      f"{key} {encoder.identity.get(key)} instead of {identity.get(key)}"
      for key in sorted(encoder.identity.keys() | identity.keys())
      if encoder.identity.get(key) != identity.get(key)
    ]
    raise UserError(
      "The music encoder is not the one that the model was trained with: "
      f"{', '.join(differing)}; name the right one with --encoder."
    )
  return encoder
