"""Makes other beats for a clip: at another tempo, continued, or from a later start."""

import numpy as np
from jaxtyping import Float64

from dabfusion_jax.evaluation.scoring.baselines import period_seconds

Beats = Float64[np.ndarray, "_"]  # seconds, ascending, one beyond either edge


def at_tempo(beats: Beats, factor: float) -> Beats:
  """Returns a steady beat `factor` times as fast, over at least the same time.

  It keeps the second beat, which is the first one inside the clip.
  """
  period = period_seconds(beats) / factor
  before = int(np.ceil((beats[1] - beats[0]) / period - 1e-6))
  after = int(np.ceil((beats[-1] - beats[1]) / period - 1e-6))
  return beats[1] + period * np.arange(-before, after + 1)


def continued(beats: Beats, seconds: float) -> Beats:
  """Continues a steady beat until one beat after `seconds`; a single one is kept."""
  if len(beats) < 2:
    return beats
  period = period_seconds(beats)
  missing = int(np.ceil(max(0.0, seconds - beats[-1]) / period)) + 1
  return np.concatenate([beats, beats[-1] + period * np.arange(1, missing + 1)])


def from_start(beats: Beats, start: float) -> Beats:
  """Returns the beats in seconds from `start`, from one before it on."""
  first = max(0, int(np.searchsorted(beats, start)) - 1)
  return beats[first:] - start
