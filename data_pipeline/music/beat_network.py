"""Computes how likely each moment of a song is a beat or a downbeat.

Source: Heydari, Cwitkowitz and Duan, BeatNet: CRNN and particle filtering for online
joint beat, downbeat and meter tracking, ISMIR 2021 (2108.03576). A convolution over
frequency, a dense layer and two LSTMs; each moment knows the past alone.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float32, Float64

from data_pipeline import weights

SAMPLE_RATE = 22_050
FPS = 50
NAMES = ("beatnet-1", "beatnet-2", "beatnet-3")  # trained on different music
_HOP = SAMPLE_RATE // FPS
_WINDOW = 1411  # samples: 64 ms
_BANDS_PER_OCTAVE = 24
_LOWEST, _HIGHEST, _TUNING = 30.0, 17_000.0, 440.0  # Hz
_CHUNK = 1000  # frames that are transformed at once
_FLOOR = 1e-4  # of a probability, so that no network alone can exclude a beat

Weights = Mapping[str, Float32[np.ndarray, "..."]]


def filterbank() -> Float32[np.ndarray, "bins bands"]:
  """Returns triangular filters at the quarter tones, each with the sum 1.

  Quarter tones that fall into one bin of the spectrum are one filter. Those above the
  highest bin are it.
  """
  num_bins = _WINDOW // 2
  bins = np.arange(num_bins) * SAMPLE_RATE / (2 * num_bins)
  lowest, highest = (
    _BANDS_PER_OCTAVE * np.log2(limit / _TUNING) for limit in (_LOWEST, _HIGHEST)
  )
  tones = np.arange(np.ceil(lowest), np.floor(highest) + 1)
  tones = _TUNING * 2 ** (tones / _BANDS_PER_OCTAVE)
  nearest = np.unique(np.abs(bins[:, None] - tones).argmin(axis=0))
  filters = np.zeros((num_bins, len(nearest) - 2), np.float32)
  corners = zip(nearest, nearest[1:], nearest[2:], strict=False)
  for column, (start, centre, end) in enumerate(corners):
    if end - start < 2:
      centre, end = start, start + 1
    rise = np.linspace(0, 1, centre - start, endpoint=False)
    fall = np.linspace(1, 0, end - centre, endpoint=False)
    shape = np.concatenate([rise, fall])
    filters[start:end, column] = shape / shape.sum()
  return filters


def spectrum(audio: Float32[np.ndarray, "s"]) -> Float32[np.ndarray, "t 272"]:
  """Returns the log spectrum of each frame, and by how much it rose since the last.

  Args:
    audio: mono at SAMPLE_RATE; frame t is centred at t / FPS seconds.
  """
  num_frames = -(-len(audio) // _HOP)
  padded = np.pad(audio, (_WINDOW // 2, _WINDOW))
  frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP]
  window, filters = np.hanning(_WINDOW).astype(np.float32), filterbank()
  parts = []
  for first in range(0, num_frames, _CHUNK):
    part = frames[first : min(first + _CHUNK, num_frames)] * window
    magnitude = np.abs(np.fft.rfft(part, axis=1)[:, : len(filters)])
    parts.append(np.log10(magnitude.astype(np.float32) @ filters + 1))
  level = np.concatenate(parts)
  rise = np.maximum(np.diff(level, axis=0, prepend=level[:1]), 0)
  return np.concatenate([level, rise], axis=1)


def activations(
  network: Weights, features: Float32[np.ndarray, "t d"]
) -> Float32[np.ndarray, "t 3"]:
  """Returns the probabilities of a beat that is no downbeat, a downbeat, and neither.

  Args:
    network: `conv/kernel` [10 2], `dense/kernel` [.. 150], `lstm_1` and `lstm_2` with
      `input` [150 600], `recurrent` [150 600] and `bias` [600] for the input gate,
      forget gate, cell and output gate, `output/kernel` [150 3]; a bias for each.
    features: of `spectrum`.
  """
  kernel = network["conv/kernel"]
  windows = np.lib.stride_tricks.sliding_window_view(features, len(kernel), axis=1)
  x = np.maximum(windows @ kernel + network["conv/bias"], 0).swapaxes(1, 2)
  x = x[..., : x.shape[2] // 2 * 2]
  x = np.maximum(x[..., ::2], x[..., 1::2]).reshape(len(x), -1)  # pooled in frequency
  x = x @ network["dense/kernel"] + network["dense/bias"]
  for layer in ("lstm_1", "lstm_2"):
    x = lstm(network, layer, x)
  x = x @ network["output/kernel"] + network["output/bias"]
  powers = np.exp(x - x.max(axis=1, keepdims=True))
  return powers / powers.sum(axis=1, keepdims=True)


def lstm(
  network: Weights, layer: str, x: Float32[np.ndarray, "t d"]
) -> Float32[np.ndarray, "t h"]:
  """Runs a recurrent layer over time, from a state of zeros."""
  recurrent = network[f"{layer}/recurrent"]
  gates = x @ network[f"{layer}/input"] + network[f"{layer}/bias"]
  size = len(recurrent)
  hidden, cell = np.zeros(size, np.float32), np.zeros(size, np.float32)
  states = np.empty((len(x), size), np.float32)
  for frame, gate in enumerate(gates):
    gate = gate + hidden @ recurrent
    entry, keep, emit = (
      0.5 + 0.5 * np.tanh(0.5 * gate[i * size : (i + 1) * size]) for i in (0, 1, 3)
    )
    cell = keep * cell + entry * np.tanh(gate[2 * size : 3 * size])
    hidden = emit * np.tanh(cell)
    states[frame] = hidden
  return states


class BeatNetwork:
  """The three networks together: the geometric mean of their probabilities."""

  def __init__(self) -> None:
    """Reads the weights.

    Raises:
      MissingWeightsError: they have not been imported; the message has the command.
      WeightsError: they are damaged.
    """
    command = " ".join([weights.COMMAND, *NAMES])
    self._networks = [weights.read(name, command=command) for name in NAMES]
    infos = [weights.describe(name, command=command) for name in NAMES]
    self.digest = "-".join(info["sha256"][:8] for info in infos)

  def __call__(self, audio: Float32[np.ndarray, "s"]) -> Float64[np.ndarray, "t 2"]:
    """Returns the probabilities of a beat that is no downbeat, and of a downbeat.

    Args:
      audio: mono at SAMPLE_RATE, at least one sample.
    """
    features = spectrum(audio)
    logs = sum(
      np.log(np.maximum(activations(network, features), _FLOOR), dtype=np.float64)
      for network in self._networks
    )
    mean = np.exp(logs / len(self._networks))
    return (mean / mean.sum(axis=1, keepdims=True))[:, :2]
