"""Tracks beats and downbeats with a network; needs the weights `beatnet-1` to `-3`."""

import math
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64

from data_pipeline.music import beat_decoder, beat_network, onsets, tracked
from data_pipeline.music.beat_decoder import BeatPath
from data_pipeline.music.beat_network import FPS, BeatNetwork
from data_pipeline.music.tracked import Tracked

# Other tempi that the same music may be heard at, as factors of the likeliest.
_RATIOS = (1 / 2, 2 / 3, 3 / 2, 2)
# Weight of the onset strength at the beats, per second and e-fold, beside the
# network's log-likelihood. It decides where the network prefers every other beat
# although those between lie on stronger onsets. Anything from about 21 to 30 gives the
# right tempo for all of six free songs, 26 AIST clips and 15 generated tracks; 0 is
# wrong for two of them.
_ONSET_WEIGHT = 25.0
# Log-likelihood per second by which a tempo must be better than the next.
_MIN_MARGIN = 2.0
# Mean activation at the beats: at most 0.31 for noise, at least 0.5 for music.
_MIN_ACTIVATION = 0.42


class CrnnTracker:
  """The beats that a network hears, at the likeliest tempo from 55 to 215 bpm."""

  name = tracked.CRNN

  def __init__(self) -> None:
    """Reads the weights.

    Raises:
      MissingWeightsError: they have not been imported; the message has the command.
      WeightsError: they are damaged.
    """
    self._network = BeatNetwork()

  @property
  def identity(self) -> dict[str, Any]:
    """Returns name, version, and hashes of the weights."""
    return {"name": self.name, "version": 2, "weights": self._network.digest}

  def __call__(
    self, audio: Float32[np.ndarray, "s"], sample_rate: int, bpm: float | None = None
  ) -> Tracked:
    """Finds the beats and downbeats of a song; see `BeatTracker`."""
    audio = onsets.resample(audio, sample_rate)
    strength = onsets.onset_strength(audio)
    if not len(strength):
      return Tracked(np.zeros(0))
    # The network was trained on music at its usual level, and takes quiet music for
    # less rhythmic; so the largest sample is made 1.
    peak = float(np.abs(audio).max())
    activations = self._network(audio / np.float32(peak) if peak else audio)
    if not onsets.has_beat(strength):
      return Tracked(np.zeros(0), doubt=tracked.NO_BEAT)
    seconds = len(audio) / beat_network.SAMPLE_RATE

    def decode(tempo: float | None) -> tuple[float, BeatPath]:
      path = beat_decoder.decode(activations, FPS, tempo)
      onset = onsets.strength_at(strength, path.frames / FPS)
      merit = path.score / seconds + _ONSET_WEIGHT * math.log(max(onset, 1e-6))
      return merit, path

    candidates = [decode(bpm)]
    if bpm is None and len(candidates[0][1].frames) > 1:
      tempo = tracked.tempo_of(candidates[0][1].frames / FPS)
      low, high = beat_decoder.BPM_RANGE
      tempi = [ratio * tempo for ratio in _RATIOS]
      candidates += [decode(tempo) for tempo in tempi if low <= tempo <= high]
    candidates.sort(key=lambda candidate: candidate[0], reverse=True)
    path = candidates[0][1]
    times = np.maximum(path.frames / FPS, 0.0)
    doubt, other = tracked.doubt_of_tempo(times), None
    if not doubt and _activation(activations, path) < _MIN_ACTIVATION:
      doubt = tracked.UNCLEAR
    if not doubt and len(candidates) > 1:
      margin = candidates[0][0] - candidates[1][0]
      if margin < _MIN_MARGIN:
        other = tracked.tempo_of(candidates[1][1].frames / FPS)
        heard = tracked.tempo_of(times)
        doubt = f"Its tempo may be {other:.0f} beats per minute, not {heard:.0f}."
    return Tracked(times, times[path.positions == 0], doubt, other)


def _activation(activations: Float64[np.ndarray, "t 2"], path: BeatPath) -> float:
  frames = np.clip(path.frames.round().astype(np.int64), 0, len(activations) - 1)
  return float(activations.sum(axis=1)[frames].mean())
