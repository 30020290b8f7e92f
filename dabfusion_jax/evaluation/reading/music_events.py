"""Music events of a clip: onsets and beats, in seconds from its first frame."""

import math

import librosa
import numpy as np
from jaxtyping import Float32, Float64

from data_pipeline.music import beats
from data_pipeline.music.numba_cache import compile_librosa

SAMPLE_RATE = beats.SAMPLE_RATE
HOP_LENGTH_SAMPLES = 512


def find_onsets(audio: Float32[np.ndarray, "s"]) -> Float64[np.ndarray, "n"]:
  """Audio peaks as AV-Align has them: librosa's onsets at 22,050 Hz, no correction.

  `audio` is mono at SAMPLE_RATE and cut to the clip. Silence, and sound shorter than
  a few hops, has none.
  """
  beats.check_audio(audio)
  if len(audio) < 4 * HOP_LENGTH_SAMPLES or not np.any(audio):
    return np.zeros(0)
  compile_librosa()
  strength = librosa.onset.onset_strength(y=audio, sr=SAMPLE_RATE)
  frames = librosa.onset.onset_detect(onset_envelope=strength, sr=SAMPLE_RATE)
  return np.asarray(librosa.frames_to_time(frames, sr=SAMPLE_RATE), np.float64)


def find_beats(audio: Float32[np.ndarray, "s"]) -> Float64[np.ndarray, "n"]:
  """Beats heard in the clip alone: the last resort, often an octave off in 4 s."""
  return beats.track_beats(audio, SAMPLE_RATE)


def resample(
  audio: Float32[np.ndarray, "s"], sample_rate: int
) -> Float32[np.ndarray, "n"]:
  """Sound at SAMPLE_RATE -> at another rate."""
  return librosa.resample(audio, orig_sr=SAMPLE_RATE, target_sr=sample_rate)


def continue_beats(
  times: Float64[np.ndarray, "n"], seconds: float | int
) -> Float64[np.ndarray, "m"]:
  """Beats heard in a clip of `seconds`, with their grid continued to both edges.

  A tracker misses the first and last beats of a few seconds, and motion there would be
  held against the wrong beat; the last on either side lies outside, as where the whole
  song is known. Fewer than two beats have no grid and are returned as they are.
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
  """What ran, for the protocol."""
  return {
    "onsets": f"librosa {librosa.__version__} onset_detect",
    "tracked_beats": f"librosa {librosa.__version__} beat_track",
    "beat_offset_seconds": beats.LATE_SECONDS,
  }
