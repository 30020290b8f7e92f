"""Finds the onsets and beats of a clip's sound, in seconds from its first frame."""

import math

import librosa
import numpy as np
from jaxtyping import Float32, Float64

from data_pipeline.music import onsets
from data_pipeline.music.numba_cache import compile_librosa
from data_pipeline.music.tracked import LIBROSA
from data_pipeline.music.trackers import make_tracker

SAMPLE_RATE = onsets.SAMPLE_RATE
HOP_LENGTH_SAMPLES = 512


def find_onsets(
  audio: Float32[np.ndarray, "s"],
) -> tuple[Float64[np.ndarray, "n"], Float32[np.ndarray, "hops"]]:
  """Finds audio peaks as AV-Align does: librosa's onsets, without any correction.

  Args:
    audio: mono at SAMPLE_RATE, cut to the clip.

  Returns:
    Seconds, and the strength of onsets at each hop; empty for silence, and for sound
    shorter than a few hops.
  """
  onsets.check_audio(audio)
  if len(audio) < 4 * HOP_LENGTH_SAMPLES or not np.any(audio):
    return np.zeros(0), np.zeros(0, np.float32)
  compile_librosa()
  strength = librosa.onset.onset_strength(y=audio, sr=SAMPLE_RATE)
  frames = librosa.onset.onset_detect(onset_envelope=strength, sr=SAMPLE_RATE)
  times = np.asarray(librosa.frames_to_time(frames, sr=SAMPLE_RATE), np.float64)
  return times, np.asarray(strength, np.float32)


def find_beats(audio: Float32[np.ndarray, "s"]) -> Float64[np.ndarray, "n"]:
  """Tracks beats in the clip alone. A last resort: in 4 s often an octave off."""
  return make_tracker(LIBROSA)(audio, SAMPLE_RATE).times


def resample(
  audio: Float32[np.ndarray, "s"], sample_rate: int
) -> Float32[np.ndarray, "n"]:
  """Resamples sound from SAMPLE_RATE to another rate."""
  return librosa.resample(audio, orig_sr=SAMPLE_RATE, target_sr=sample_rate)


def continue_beats(
  times: Float64[np.ndarray, "n"], seconds: float | int
) -> Float64[np.ndarray, "m"]:
  """Continues the grid of beats tracked in a clip to both of its edges.

  A tracker misses the first and last beats of a few seconds, and motion there would be
  compared with the wrong beat. As with beats tracked in the whole song, the last beat
  on either side lies outside the clip.

  Args:
    times: beats in seconds; fewer than two have no grid and are returned unchanged.
    seconds: length of the clip.
  """
  if len(times) < 2:
    return times
  period = float(np.median(np.diff(times)))
  num_before = max(0, int(times[0] // period) + 1)
  num_after = max(0, math.ceil((seconds - times[-1]) / period))
  before = times[0] - period * np.arange(num_before, 0, -1)
  after = times[-1] + period * np.arange(1, num_after + 1)
  return np.concatenate([before, times, after])


def describe() -> dict[str, str | float]:
  """Returns the tools and settings that found the events, for the protocol."""
  return {
    "onsets": f"librosa {librosa.__version__} onset_detect",
    "tracked_beats": f"librosa {librosa.__version__} beat_track",
  }
