"""Composes songs in ten genres with a drum machine and synthesizers, with known beats.

The AIST name of a track determines everything: genre, tempo, key, chords, swing and
fills. Every bar has a seed of its own, so any part of a song can be made without the
rest and sounds the same. Beat 0 is at 0 s.
"""

import dataclasses
import functools
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float32, Float64, Int16

from data_pipeline.aist import tempo_bpm
from data_pipeline.synthdance import instruments
from data_pipeline.synthdance.choreography import seed
from data_pipeline.synthdance.instruments import SAMPLE_RATE, tone

NUM_BEATS = 64  # per track


@dataclasses.dataclass(frozen=True)
class Groove:
  """A bar in sixteen steps: strengths 1 to 9, pitches above the root, or rests."""

  kick: str
  snare: str
  hat: str
  open_hat: str
  bass: str  # semitones above the root, in hexadecimal
  chord: str
  bass_timbre: str
  chord_timbre: str
  backbeat: str  # the sound of `snare`: "snare", "clap" or "rim"
  bass_steps: float = 2.2  # length of a bass note
  chord_steps: float = 3.0  # length of a chord
  swing: float = 0.0  # delay of every other sixteenth, in beats
  lead: str = ""  # timbre of a melody in every other bar
  is_arpeggio: bool = False  # chord notes one after the other
  level: float = 1.0  # loudness
  fills: bool = True


GROOVES = {
  "BR": Groove(
    kick="9.....9...8.....", snare="....9.......9...", hat="9.4.9.4.9.4.9.4.",
    open_hat="..............5.", bass="0...0.7.0...0.5.", chord="9.......7.......",
    bass_timbre="saw_bass", chord_timbre="brass", backbeat="snare", swing=0.01,
    lead="brass",
  ),
  "PO": Groove(
    kick="9.....6.9.......", snare="....9.......9...", hat="9.4.9.4.9.4.9.4.",
    open_hat="................", bass="0...0.0.7...0.5.", chord="9...7.5.9...7...",
    bass_timbre="square_bass", chord_timbre="lead", backbeat="clap", lead="lead",
  ),
  "LO": Groove(
    kick="9.....5.9.......", snare="....9.......9...", hat="9.4.9.4.9.4.9.4.",
    open_hat="......4.........", bass="0...0.7.0...5.7.", chord="7...7.5.7...7.5.",
    bass_timbre="saw_bass", chord_timbre="clavinet", backbeat="snare",
  ),
  "MH": Groove(
    kick="9......5..8.....", snare="....9.......9...", hat="9.4.9.4.9.4.9.4.",
    open_hat="................", bass="0......0..7.....", chord="9.....6.........",
    bass_timbre="bass", chord_timbre="electric_piano", backbeat="snare", swing=0.04,
    chord_steps=6.0,
  ),
  "LH": Groove(
    kick="9......5..7.....", snare="....7.......7...", hat="9.4.9.4.9.4.9.44",
    open_hat="................", bass="0...0...3...0...", chord="9...5...7...5...",
    bass_timbre="saw_bass", chord_timbre="bell", backbeat="clap", bass_steps=3.6,
    chord_steps=4.0,
  ),
  "HO": Groove(
    kick="9...9...9...9...", snare="....7.......7...", hat="7...7...7...7...",
    open_hat="..4...4...4...4.", bass="0...0...0...0...", chord="9..6..6.9..6....",
    bass_timbre="bass", chord_timbre="stab", backbeat="clap", fills=False,
  ),
  "WA": Groove(
    kick="9...9...9...9...", snare="....9.......9...", hat="8...8...8...8...",
    open_hat="..4...4...4...4.", bass="0...0.c.0...0.c.", chord="9...............",
    bass_timbre="saw_bass", chord_timbre="strings", backbeat="snare",
    chord_steps=15.0, lead="strings",
  ),
  "KR": Groove(
    kick="9...5...3.7.5...", snare="........9.......", hat="9.3.9.3.9.3.9.33",
    open_hat="................", bass="0..0............", chord="9...............",
    bass_timbre="saw_bass", chord_timbre="brass", backbeat="snare", bass_steps=4.0,
    chord_steps=5.0,
  ),
  "JS": Groove(
    kick="9.......9.5.....", snare="....9.......9...", hat="9.4.9.4.9.4.9.4.",
    open_hat="................", bass="0......0..5.....", chord="9.......7.......",
    bass_timbre="bass", chord_timbre="electric_piano", backbeat="rim", swing=0.03,
    lead="electric_piano", chord_steps=5.0,
  ),
  "JB": Groove(
    kick="5.......4.......", snare="....2.......2...", hat="5...3...5...3...",
    open_hat="................", bass="0.......7.......", chord="9...9...9...9...",
    bass_timbre="bass", chord_timbre="piano", backbeat="rim", is_arpeggio=True,
    chord_steps=6.4, level=0.22, fills=False,
  ),
}  # fmt: skip
_PROGRESSIONS = (
  (0, 0, -4, -2), (0, 5, -4, -2), (0, -2, -4, -5), (0, 3, 5, -2), (0, -5, -4, -2),
  (0, 0, 5, 3),
)  # fmt: skip
# Gains of the instruments in the left and right channel.
_GAINS = {
  "kick": (0.95, 0.95), "snare": (0.57, 0.52), "hat": (0.24, 0.36),
  "open_hat": (0.34, 0.24), "bass": (0.42, 0.42), "chord": (0.085, 0.060),
  "lead": (0.060, 0.100), "pad": (0.050, 0.050), "noise": (0.010, 0.010),
}  # fmt: skip
_WIDTH_SAMPLES = 480  # the pad is 11 ms later in one channel


@dataclasses.dataclass(frozen=True)
class _Song:
  groove: Groove
  drums: dict[str, np.ndarray]
  step_seconds: float
  swing_seconds: float
  root: int  # MIDI
  progression: tuple[int, ...]
  chord: tuple[int, ...]  # semitones


@functools.lru_cache(maxsize=64)
def _song(track: str) -> _Song:
  genre = track[1:3]
  groove = GROOVES[genre]
  rng = np.random.default_rng(seed("song", track))
  beat = 60.0 / tempo_bpm(track)
  drums = {
    "kick": instruments.kick(rng, rng.uniform(46, 56), rng.uniform(0.09, 0.16)),
    "hat": instruments.hat(rng, 0.025),
    "open_hat": instruments.hat(rng, 0.12),
  }
  if genre == "KR":
    drums["kick"] = np.tanh(2.0 * drums["kick"])
  if groove.backbeat == "snare":
    drums["snare"] = instruments.snare(rng, rng.uniform(170, 220))
  else:
    drums["snare"] = {"clap": instruments.clap, "rim": instruments.rim}[
      groove.backbeat
    ](rng)
  third = 3 if rng.random() < 0.75 else 4
  return _Song(
    groove=groove,
    drums=drums,
    step_seconds=beat / 4,
    swing_seconds=(groove.swing + 0.02 * rng.random()) * beat,
    root=33 + int(rng.integers(10)),
    progression=_PROGRESSIONS[int(rng.integers(len(_PROGRESSIONS)))],
    chord=(0, third, 7, 10),
  )


def _bar(
  track: str, song: _Song, bar: int
) -> Iterator[tuple[str, float, float, instruments.Sound]]:
  """Yields the sounds of a bar: instrument, seconds from its start, gain, samples."""
  rng = np.random.default_rng(seed("bar", track, str(bar)))
  groove, step = song.groove, song.step_seconds
  root = song.root + song.progression[bar % len(song.progression)]
  is_last_of_four = bar % 4 == 3
  for i in range(16):
    at = i * step + (song.swing_seconds if i % 2 else 0.0)
    for drum in ("kick", "snare", "hat", "open_hat"):
      strength = getattr(groove, drum)[i]
      if strength != ".":
        yield drum, at, int(strength) / 9, song.drums[drum]
    if groove.fills and is_last_of_four and i in (13, 15):
      yield "snare", at, 0.6, song.drums["snare"]
    if groove.bass[i] != ".":
      note = tone(
        root + int(groove.bass[i], 16),
        round(step * groove.bass_steps, 4),
        groove.bass_timbre,
      )
      yield "bass", at, 1.0, note
    if groove.chord[i] != ".":
      length = round(step * groove.chord_steps, 4)
      gain = int(groove.chord[i]) / 9
      if groove.is_arpeggio:
        semitones = song.chord[(i // 4) % 4] + 12 * (bar % 2)
        note = tone(root + 24 + semitones, length, groove.chord_timbre)
        yield "chord", at, 3.2 * gain, note
      else:
        for semitones in song.chord:
          note = tone(root + 24 + semitones, length, groove.chord_timbre)
          yield "chord", at, gain, note
  if groove.lead and bar % 2:
    for _ in range(5):
      i, semitones = int(rng.integers(16)), (0, 3, 5, 7, 10)[int(rng.integers(5))]
      note = tone(root + 36 + semitones, round(step * 2, 4), groove.lead)
      yield "lead", i * step, 1.0, note
  for semitones in (0, 7, 12):
    note = tone(root + 12 + semitones, round(16.2 * step, 4), "pad")
    yield "pad", 0.0, 1.0, note
  hiss = instruments.noise_floor(rng, round(16 * step * SAMPLE_RATE) + 1)
  yield "noise", 0.0, 1.0, hiss


def render_music(
  track: str, start_seconds: float = 0.0, seconds: float | None = None
) -> Float32[np.ndarray, "s 2"]:
  """Renders part of a song, stereo at 44.1 kHz in [-1, 1].

  Args:
    track: AIST name of the music, such as "mBR0".
    start_seconds: where to begin; may be negative, or beyond the last beat.
    seconds: how long; if None, up to the end of the NUM_BEATS beats.

  Returns:
    Multiples of 1 / 32768, which 16-bit files store exactly.
  """
  song = _song(track)
  if seconds is None:
    seconds = NUM_BEATS * 60.0 / tempo_bpm(track) - start_seconds
  first, num = round(start_seconds * SAMPLE_RATE), round(seconds * SAMPLE_RATE)
  bar_seconds = 16 * song.step_seconds
  stems = {name: np.zeros(num + _WIDTH_SAMPLES) for name in _GAINS}
  # The last notes of the previous bar may still sound.
  begin = int(np.floor(start_seconds / bar_seconds)) - 1
  end = int(np.floor((start_seconds + seconds) / bar_seconds))
  for bar in range(max(begin, 0), end + 1):
    for name, at, gain, sound in _bar(track, song, bar):
      offset = round((bar * bar_seconds + at) * SAMPLE_RATE) - first + _WIDTH_SAMPLES
      low, high = max(-offset, 0), min(len(sound), num + _WIDTH_SAMPLES - offset)
      if high > low:
        stems[name][offset + low : offset + high] += gain * sound[low:high]
  channels = []
  for channel in (0, 1):
    mix = np.zeros(num)
    for name, sound in stems.items():
      delay = _WIDTH_SAMPLES if name == "pad" and channel else 0
      mix += _GAINS[name][channel] * sound[_WIDTH_SAMPLES - delay :][:num]
    channels.append(song.groove.level * 0.85 * np.tanh(1.5 * mix))
  return (np.round(np.stack(channels, -1) * 32768.0) / 32768.0).astype(np.float32)


def to_int16(audio: Float32[np.ndarray, "*s"]) -> Int16[np.ndarray, "*s"]:
  """Returns the 16-bit samples of the result of `render_music`, without loss.

  Records use another scale (`data_pipeline.media.pcm`), with which multiples of
  1 / 32768 would be rounded.
  """
  return np.clip(np.round(audio * 32768.0), -32768, 32767).astype(np.int16)


def beat_times(track: str, num_beats: int = NUM_BEATS) -> Float64[np.ndarray, "n"]:
  """Returns the times of the beats in seconds; every fourth, from 0, is a downbeat."""
  return np.arange(num_beats) * 60.0 / tempo_bpm(track)
