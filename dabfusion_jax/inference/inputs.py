"""A user's inputs: a picture, a piece of music, perhaps its beats or words.

An input that cannot be used raises an `InputError`, or a `MediaError` of its file, with
one line that says what to change.
"""

import contextlib
import math
import numbers
import pathlib
from collections.abc import Sequence

import numpy as np
import PIL.Image
from jaxtyping import Float32, Float64, UInt8

from dabfusion_jax.inference import beats_file
from dabfusion_jax.inference.dance import SAMPLE_RATE
from dabfusion_jax.inference.song import Song
from data_pipeline.cutting import person
from data_pipeline.errors import UserError
from data_pipeline.media import framing, reader
from data_pipeline.music import onsets, trackers
from data_pipeline.music.encoders import MusicEncoder
from data_pipeline.music.kept import keep_beats
from data_pipeline.music.trackers import BeatTracker

PathLike = str | pathlib.Path
_SILENCE = 1e-4  # of the largest amplitude
_NEAR = 0.1  # seconds


class InputError(UserError):
  """An input that cannot become a dance; one line says what to change."""


class OptionError(InputError):
  """An option that no dance of a model can have, whatever its picture and song."""


class PictureError(InputError):
  """A picture that cannot become one, whatever the music."""


def check_number(
  name: str, value: object, low: int | float, high: int | float = math.inf
) -> None:
  """Raises `OptionError` unless `value` is finite and low <= value <= high."""
  is_number = isinstance(value, numbers.Real)
  is_finite = is_number and (isinstance(value, int) or math.isfinite(value))
  if not (is_finite and low <= value <= high):
    bounds = f"at least {low:.10g}"
    if math.isfinite(high):
      bounds = f"from {low:.10g} to {high:.10g}"
    shown = str(value)[:20] if is_number else f"{value!r:.20}, which is no number"
    raise OptionError(f"{name} must be {bounds}, not {shown}.")


def check_integer(
  name: str, value: object, low: int, high: int | float = math.inf
) -> None:
  """Raises `OptionError` unless `value` is an integer and low <= value <= high."""
  if isinstance(value, numbers.Real) and not isinstance(value, numbers.Integral):
    raise OptionError(f"{name} must be a whole number, not {str(value)[:20]}.")
  check_number(name, value, low, high)


def read_picture(
  image: PathLike | PIL.Image.Image | np.ndarray,
) -> UInt8[np.ndarray, "h w 3"]:
  """Reads a picture of any size and format.

  Args:
    image: file, or the picture itself.

  Raises:
    InputError, MediaError: a picture that cannot be used.
  """
  if isinstance(image, str | pathlib.Path):
    image = reader.read_image(image)
  elif isinstance(image, PIL.Image.Image):
    image = reader.image_to_array(image)
  is_array = isinstance(image, np.ndarray)
  if not is_array or image.dtype != np.uint8 or image.shape[2:] != (3,):
    found = f"{image.dtype} {list(image.shape)}" if is_array else type(image).__name__
    raise InputError(
      "A picture is a file, a PIL image, or an array uint8 [height, width, 3], not"
      f" {found}; convert it first."
    )
  if min(image.shape[:2]) < reader.MIN_IMAGE_SIZE:
    raise InputError(
      f"The picture has {image.shape[1]}x{image.shape[0]} pixels; at least "
      f"{reader.MIN_IMAGE_SIZE}x{reader.MIN_IMAGE_SIZE} are needed."
    )
  return image


def frame_image(
  image: PathLike | np.ndarray, name: str, size: int, pad: bool
) -> np.ndarray:
  """Returns a picture as a model's frame, uint8 [size, size, 3].

  Args:
    image: file of any size and format, or uint8 [h, w, 3].
    name: of the framing, one of `framing.FRAMINGS`. For `person`, a picture higher than
      wide is made square first: wide film shows the whole body.
    size: pixels per side.
    pad: whether to make the picture square first (`pad_to_square`).

  Raises:
    InputError, MediaError: a picture that cannot be used.
  """
  image = read_picture(image)
  around_person = name == framing.PERSON
  if pad or (around_person and image.shape[0] > image.shape[1]):
    image = pad_to_square(image)
  if around_person:
    square = person.crop_picture(image, size)
    if square is None:
      raise InputError(
        "This model was trained on squares around the dancer, who cannot be separated "
        "from the background of this picture; crop a square around the person."
      )
    return square
  return framing.FRAMINGS[name](image[None], size)[0][0]


def pad_to_square(image: np.ndarray) -> np.ndarray:
  """Makes a picture square by repeating its border, as a studio wall would continue."""
  height, width = image.shape[:2]
  side = max(height, width)
  rows, columns = side - height, side - width
  # A picture that is too low is extended at the top: the floor stays at the bottom.
  padding = ((rows, 0), (columns // 2, columns - columns // 2), (0, 0))
  return np.pad(image, padding, mode="edge")


def read_music(
  path: PathLike,
  encoder: MusicEncoder,
  start_seconds: float = 0.0,
  *,
  name: str | None = None,
  text: str | None = None,
  beat_times: PathLike | Sequence[float] | None = None,
  bpm: float | None = None,
  is_looped: bool = False,
  tracker: BeatTracker | None = None,
  beats_folder: pathlib.Path | None = None,
  beside: contextlib.AbstractContextManager | None = None,
) -> Song:
  """Reads a song and its beats.

  Args:
    path: any file with sound.
    encoder: the model's.
    start_seconds: where in the song the dance begins.
    name: of the song; by default that of the file.
    text: words to embed instead of the sound.
    beat_times: seconds from the song's start, or a file of them (`beats_file`), instead
      of the tracked ones.
    bpm: tempo of the song, if the tracker gets it wrong.
    is_looped: whether the song begins again where it ends.
    tracker: of the beats; `trackers.best_tracker` if None.
    beats_folder: where tracked beats are kept (`kept.keep_beats`); None: nowhere.
    beside: entered for the time of the listening, once the inputs have been checked.

  Raises:
    InputError, MediaError, UserError: input that cannot be used.
  """
  name = name or str(path)
  audio = reader.read_audio(path, SAMPLE_RATE, mono=False)
  if start_seconds >= len(audio) / SAMPLE_RATE:
    raise InputError(
      f"{name} lasts {len(audio) / SAMPLE_RATE:.2f} s; a dance cannot begin at"
      f" {start_seconds:g} s: choose an earlier --music_start."
    )
  if text is None:
    sound = reader.read_audio(path, encoder.sample_rate)
  else:
    sound = encode_text(encoder, text)
  tracked, times = None, np.zeros(0)
  if isinstance(beat_times, str | pathlib.Path):
    times = beats_file.read(beat_times)
  elif beat_times is not None:
    times = beats_file.check_times(beat_times)
  if len(times) and times.min() > len(audio) / SAMPLE_RATE:
    raise InputError(
      f"The first beat is at {times.min():g} s, but the music lasts "
      f"{len(audio) / SAMPLE_RATE:.2f} s; divide milliseconds by 1000."
    )
  with beside or contextlib.nullcontext():
    if beat_times is None:
      tracker = tracker or trackers.best_tracker()[0]
      if beats_folder is not None:
        tracker = keep_beats(tracker, beats_folder)
      if text is None and encoder.sample_rate == onsets.SAMPLE_RATE:
        song = sound  # decoding a long song takes seconds
      else:
        song = reader.read_audio(path, onsets.SAMPLE_RATE)
      tracked = tracker(song, onsets.SAMPLE_RATE, bpm)
      times = _heard(tracked.times, audio)
  return Song(
    name,
    audio,
    encoder,
    sound,
    times,
    start_seconds,
    is_looped,
    is_words=text is not None,
    tracked=tracked,
    tracker=None if tracked is None else tracker.name,
  )


def _heard(
  times: Float64[np.ndarray, "n"], audio: Float32[np.ndarray, "s 2"]
) -> Float64[np.ndarray, "m"]:
  """Returns the beats that lie between the first sound and the last.

  A tracker goes on in silence; inside of a song, so do dancers.
  """
  loud = np.flatnonzero(np.abs(audio).max(axis=1) > _SILENCE) / SAMPLE_RATE
  if not len(loud):
    return times[:0]
  return times[(times > loud[0] - _NEAR) & (times < loud[-1] + _NEAR)]


def encode_text(encoder: MusicEncoder, text: str) -> np.ndarray:
  """Returns the embedding of words: float32 [d], unit norm.

  Raises:
    OptionError: no words, or an encoder of sound only.
  """
  if not hasattr(encoder, "encode_texts"):
    raise OptionError(
      f"The model was trained with the music encoder {encoder.name!r}, which does not "
      "encode text; use a model trained with 'clap'."
    )
  if not text.strip():
    raise OptionError("The text is empty; describe a style of dance or music.")
  return encoder.encode_texts([text])[0]
