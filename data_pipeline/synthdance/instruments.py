"""Synthesizes the sounds of the generated music: drums, and tones of a few harmonics.

Everything is float64, so the last bit of a sine does not affect the 16-bit samples.
"""

import functools

import numpy as np
from jaxtyping import Float64

SAMPLE_RATE = 44100
Sound = Float64[np.ndarray, "s"]

# Harmonics (number, strength), attack and decay in seconds.
TIMBRES = {
  "bass": (((1, 1.0), (2, 0.25), (3, 0.08)), 0.005, 0.40),
  "saw_bass": (tuple((k, 1.0 / k) for k in range(1, 8)), 0.004, 0.25),
  "square_bass": (((1, 1.0), (3, 0.33), (5, 0.2), (7, 0.14)), 0.004, 0.20),
  "piano": (tuple((k, 0.88**k / k) for k in range(1, 8)), 0.002, 0.60),
  "electric_piano": (((1, 1.0), (2, 0.3), (4, 0.12), (7, 0.05)), 0.004, 0.60),
  "clavinet": (tuple((k, k**-0.7) for k in range(1, 11)), 0.001, 0.09),
  "brass": (tuple((k, k**-0.9) for k in range(1, 9)), 0.020, 0.25),
  "stab": (tuple((k, 1.0 / k) for k in range(1, 7)), 0.003, 0.14),
  "strings": (tuple((k, k**-1.2) for k in range(1, 7)), 0.090, 2.0),
  "lead": (((1, 1.0), (2, 0.5), (3, 0.33), (5, 0.2), (7, 0.14)), 0.004, 0.25),
  "bell": (((1, 1.0), (3, 0.4), (5, 0.3), (9, 0.12)), 0.002, 0.35),
  "pad": (((1, 1.0), (2, 0.35), (3, 0.19), (5, 0.09)), 0.150, 9.0),
}


def _time(seconds: float) -> np.ndarray:
  return np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE


def _noise(rng: np.random.Generator, num: int, differences: int) -> np.ndarray:
  """Returns white noise; each difference removes low frequencies."""
  sound = rng.uniform(-1.7, 1.7, num + differences)
  return np.diff(sound, n=differences) / 2.0**differences


@functools.lru_cache(maxsize=512)
def tone(pitch: int, seconds: float, timbre: str) -> Sound:
  """Returns a note; `pitch` is a MIDI number (69 is 440 Hz)."""
  harmonics, attack, decay = TIMBRES[timbre]
  t = _time(seconds)
  frequency = 440.0 * 2.0 ** ((pitch - 69) / 12)
  # One sine and one cosine give all harmonics by Chebyshev's recurrence.
  angle = 2 * np.pi * frequency * t
  wave, twice = np.sin(angle), 2 * np.cos(angle)
  strengths = dict(harmonics)
  sound = strengths[1] * wave
  before, current = np.zeros_like(wave), wave
  for k in range(2, max(strengths) + 1):
    if frequency * k > 0.45 * SAMPLE_RATE:
      break
    before, current = current, twice * current - before
    if k in strengths:
      sound = sound + strengths[k] * current
  sound = sound * np.minimum(t / attack, 1.0) * np.exp(-t / decay)
  release = min(len(t), round(0.02 * SAMPLE_RATE))
  sound[-release:] *= np.linspace(1.0, 0.0, release)
  sound.setflags(write=False)
  return sound


def kick(rng: np.random.Generator, frequency: float, decay: float) -> Sound:
  """Returns a bass drum: a falling sine, with a click that marks the beat."""
  t = _time(0.35)
  phase = frequency * t + 110 * 0.035 * (1 - np.exp(-t / 0.035))
  click = 0.5 * _noise(rng, len(t), 1) * np.exp(-t / 0.010)
  return np.sin(2 * np.pi * phase) * np.exp(-t / decay) + click


def snare(rng: np.random.Generator, frequency: float) -> Sound:
  """Returns a snare drum: a decaying sine with a rattle."""
  t = _time(0.22)
  rattle = 0.55 * _noise(rng, len(t), 1) * np.exp(-t / 0.055)
  return rattle + 0.5 * np.sin(2 * np.pi * frequency * t) * np.exp(-t / 0.05)


def clap(rng: np.random.Generator) -> Sound:
  """Returns a hand clap: three bursts of noise."""
  t = _time(0.20)
  envelope = 0.4 * np.exp(-t / 0.06)
  for start in (0.0, 0.011, 0.023):
    envelope = envelope + 0.5 * np.where(t >= start, np.exp(-(t - start) / 0.008), 0.0)
  return 0.6 * _noise(rng, len(t), 1) * envelope


def rim(rng: np.random.Generator) -> Sound:
  """Returns a stroke on the rim of a drum."""
  t = _time(0.06)
  knock = np.sin(2 * np.pi * 1700 * t) + 0.6 * _noise(rng, len(t), 1)
  return 0.7 * knock * np.exp(-t / 0.010)


def hat(rng: np.random.Generator, decay: float) -> Sound:
  """Returns a hi-hat, closed with a decay of 0.025 s and open with 0.12 s."""
  t = _time(min(0.30, 5 * decay))
  return 1.2 * _noise(rng, len(t), 4) * np.exp(-t / decay)


def noise_floor(rng: np.random.Generator, num: int) -> Sound:
  """Returns the hiss of a room, because digital silence misleads beat trackers."""
  return _noise(rng, num, 0)
