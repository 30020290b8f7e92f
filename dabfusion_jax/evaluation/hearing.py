"""Music events of a clip: onsets and beats, in seconds from its first frame."""

import librosa
import numpy as np
from jaxtyping import Float32, Float64

from data_pipeline import beats
from data_pipeline.compiled import compile_librosa

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


def describe() -> dict[str, str | float]:
  """What ran, for the protocol."""
  return {
    "onsets": f"librosa {librosa.__version__} onset_detect",
    "tracked_beats": f"librosa {librosa.__version__} beat_track",
    "beat_offset_seconds": beats.LATE_SECONDS,
  }
