"""A song that is danced to: its sound, its beats, and what a model is given of them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64

from dabfusion_jax.inference.dance import SAMPLE_RATE
from data_pipeline.music import beats
from data_pipeline.music.encoders import MusicEncoder, cut_window
from data_pipeline.music.tracked import Tracked, tempo_of

SLACK_SECONDS = 0.01  # of a song, that may be lost to encoders


@dataclass(frozen=True)
class Condition:
  """What a model is given of a window of music."""

  embedding: Float32[np.ndarray, "d"]  # unit norm
  beat_times: Float64[np.ndarray, "n"]  # seconds from the window's start


@dataclass(frozen=True)
class Song:
  """A whole song, from where a dance begins in it.

  Attributes:
    name: of its file.
    audio: of the whole song at SAMPLE_RATE.
    encoder: the model's.
    sound: the whole song as the encoder takes it, or the embedding of words.
    beat_times: seconds from the song's start.
    start_seconds: where the dance begins.
    is_looped: whether the song begins again where it ends.
    is_words: whether `sound` is of words.
    tracked: what was heard of the beats; None if they were given.
    tracker: the name of who heard them.
  """

  name: str
  audio: Float32[np.ndarray, "s 2"]
  encoder: MusicEncoder
  sound: Float32[np.ndarray, "n"]
  beat_times: Float64[np.ndarray, "m"]
  start_seconds: float
  is_looped: bool = False
  is_words: bool = False
  tracked: Tracked | None = None
  tracker: str | None = None

  @property
  def seconds(self) -> float:
    """Returns how long the song is."""
    return len(self.audio) / SAMPLE_RATE

  @property
  def heard_bpm(self) -> float | None:
    """Returns the tempo of the whole song, if one was heard."""
    times = () if self.tracked is None else self.tracked.times
    return round(tempo_of(times), 1) if len(times) > 1 else None

  def condition(self, first_seconds: float, seconds: float) -> Condition:
    """Returns what a model is given of a window, computed as for the training data.

    A window that reaches beyond the end of the song is given the sound of the last
    window that does not.

    Args:
      first_seconds: from the start of the dance.
      seconds: length of the window.
    """
    embedding = self.sound
    if not self.is_words:
      rate = self.encoder.sample_rate
      begin = self.start_seconds + first_seconds
      if self.is_looped:
        window = _cut_looped(self.sound, rate, begin % self.seconds, seconds)
      else:
        if begin + seconds > self.seconds + SLACK_SECONDS:
          begin = max(self.seconds - seconds, 0.0)
          seconds = min(seconds, self.seconds)
        window = cut_window(self.sound, rate, begin, seconds)
      embedding = self.encoder(window, rate)
    return Condition(embedding, self.beats(first_seconds, seconds))

  def beats(self, first_seconds: float, seconds: float) -> Float64[np.ndarray, "n"]:
    """Returns the beats of a window in seconds from its start, one beyond either edge.

    Args:
      first_seconds: from the start of the dance.
      seconds: length of the window.
    """
    return self._between(self.beat_times, first_seconds, seconds)

  def downbeats(self, first_seconds: float, seconds: float) -> Float64[np.ndarray, "n"]:
    """Returns those beats of a window that begin a bar, none if nobody told them."""
    if self.tracked is None:
      return np.zeros(0)
    downbeats = self._between(self.tracked.downbeats, first_seconds, seconds)
    return downbeats[np.isin(downbeats, self.beats(first_seconds, seconds))]

  def _between(
    self, times: Float64[np.ndarray, "m"], first_seconds: float, seconds: float
  ) -> Float64[np.ndarray, "n"]:
    begin = self.start_seconds + first_seconds
    if self.is_looped:
      rounds = np.arange(
        begin // self.seconds - 1, (begin + seconds) // self.seconds + 2
      )
      starts = self.seconds * rounds[rounds >= 0]
      times = (starts[:, None] + times[times < self.seconds]).ravel()
    return beats.slice_beats(times, begin, seconds)

  def audio_between(self, first: float, last: float) -> Float32[np.ndarray, "s 2"]:
    """Returns the sound between two times of the dance, with silence after its end."""
    start = round(self.start_seconds * SAMPLE_RATE)
    begin, end = (start + round(time * SAMPLE_RATE) for time in (first, last))
    if self.is_looped:
      return np.take(self.audio, np.arange(begin, end), axis=0, mode="wrap")
    piece = self.audio[begin:end]
    return np.pad(piece, ((0, end - begin - len(piece)), (0, 0)))


def _cut_looped(
  sound: Float32[np.ndarray, "n"], rate: int, begin: float, seconds: float
) -> Float32[np.ndarray, "m"]:
  first, length = round(begin * rate), round(seconds * rate)
  return np.take(sound, np.arange(first, first + length), mode="wrap")
