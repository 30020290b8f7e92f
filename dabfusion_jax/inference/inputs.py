"""What a user brings: a picture, a piece of music, perhaps its beats or words.

Whatever cannot be used is one line that says what to change: an `InputError`, or a
`MediaError` of the file.
"""

import math
import pathlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dabfusion_jax.inference.dance import SAMPLE_RATE
from data_pipeline.cutting import person
from data_pipeline.errors import UserError
from data_pipeline.media import framing, reader
from data_pipeline.music import beats
from data_pipeline.music.encoders import MusicEncoder, cut_window

PathLike = str | pathlib.Path
BPM = (30.0, 300.0)  # tempi that are no slip of the keyboard


class InputError(UserError):
  """Input that cannot become a dance: one line that says what to change."""


@dataclass(frozen=True)
class Music:
  """A window of a song, as the model hears it."""

  audio: np.ndarray  # float32 [s, 2] at SAMPLE_RATE, exactly as long as the video
  embedding: np.ndarray  # float32 [d], unit norm
  beat_times: np.ndarray  # float64 [n], seconds from the window's start


def check_number(
  name: str, value: int | float, low: int | float, high: int | float = math.inf
) -> None:
  """Raises InputError unless low <= value <= high, and finite."""
  if not (math.isfinite(value) and low <= value <= high):
    bounds = f"from {low:g} to {high:g}" if math.isfinite(high) else f"from {low:g} on"
    if low == -math.inf:
      bounds = "a finite number"
    raise InputError(f"{name} must be {bounds}, not {value:g}.")


def frame_image(
  image: PathLike | np.ndarray, name: str, size: int, pad: bool
) -> np.ndarray:
  """Any picture -> uint8 [size, size, 3].

  Args:
    image: file of any size and format, or uint8 [h, w, 3].
    name: of the framing, `framing.FRAMINGS`. Around the person, a picture higher than
      wide is made square first: the whole body is in film that is wide.
    size: pixels.
    pad: whether the picture is made square first (`pad_to_square`).

  Raises:
    InputError, MediaError: a picture that cannot be used.
  """
  if not isinstance(image, np.ndarray):
    image = reader.read_image(image)
  if min(image.shape[:2]) < reader.MIN_IMAGE_SIZE:
    raise InputError(
      f"The picture has {image.shape[1]}x{image.shape[0]} pixels; at least "
      f"{reader.MIN_IMAGE_SIZE}x{reader.MIN_IMAGE_SIZE} are needed."
    )
  around_person = name == framing.PERSON
  if pad or (around_person and image.shape[0] > image.shape[1]):
    image = pad_to_square(image)
  if around_person:
    square = person.crop_picture(image, size)
    if square is None:
      raise InputError(
        "This model saw squares around the dancer, who cannot be told from the "
        "background of this picture; cut a square around the person out of it."
      )
    return square
  return framing.FRAMINGS[name](image[None], size)[0][0]


def pad_to_square(image: np.ndarray) -> np.ndarray:
  """Extends the shorter side by repeating its border: a studio wall goes on."""
  height, width = image.shape[:2]
  side = max(height, width)
  rows, columns = side - height, side - width
  # Where a picture is too low, the floor and not the ceiling ends at the frame.
  padding = ((rows, 0), (columns // 2, columns - columns // 2), (0, 0))
  return np.pad(image, padding, mode="edge")


def hear_music(
  path: PathLike,
  encoder: MusicEncoder,
  start_seconds: float,
  seconds: float,
  *,
  text: str | None = None,
  beat_times: PathLike | Sequence[float] | None = None,
  bpm: float | None = None,
) -> Music:
  """The window of a song that is danced to, heard as the training data were.

  Args:
    path: file of any kind that holds sound.
    encoder: of the model.
    start_seconds: where in the song the window begins.
    seconds: its length.
    text: words whose embedding stands in for the sound's.
    beat_times: seconds from the song's start, or a file of them (`read_beats`), in
      place of the tracked ones.
    bpm: tempo of the song, for a tracker that hears it double or half.

  Raises:
    InputError, MediaError, ValueError: input that cannot be used.
  """
  if beat_times is not None and bpm is not None:
    raise InputError("--beats replaces the tracker, --bpm helps it: give one of them.")
  if bpm is not None:
    check_number("bpm", bpm, *BPM)
  audio = reader.read_audio(path, SAMPLE_RATE, mono=False)
  # A hundredth of a second may be lost to encoders.
  if len(audio) / SAMPLE_RATE < start_seconds + seconds - 0.01:
    raise InputError(
      f"{path} lasts {len(audio) / SAMPLE_RATE:.2f} s; a dance of {seconds:g} s from "
      f"{start_seconds:g} s on needs {start_seconds + seconds:.2f} s: choose longer "
      "music, another start, or fewer frames."
    )
  window = cut_window(audio, SAMPLE_RATE, start_seconds, seconds)
  if text is None:
    song = reader.read_audio(path, encoder.sample_rate)
    sound = cut_window(song, encoder.sample_rate, start_seconds, seconds)
    embedding = encoder(sound, encoder.sample_rate)
  else:
    embedding = encode_text(encoder, text)
  if beat_times is None:
    song = reader.read_audio(path, beats.SAMPLE_RATE)
    times = beats.track_beats(song, beats.SAMPLE_RATE, bpm)
  elif isinstance(beat_times, str | pathlib.Path):
    times = read_beats(beat_times)
  else:
    times = np.unique(np.asarray(beat_times, np.float64))
  return Music(window, embedding, beats.slice_beats(times, start_seconds, seconds))


def encode_text(encoder: MusicEncoder, text: str) -> np.ndarray:
  """Words as the encoder of a model has them: float32 [d], unit norm.

  Raises:
    InputError: no words, or an encoder that takes none.
  """
  if not hasattr(encoder, "encode_texts"):
    raise InputError(
      f"The model was trained with the music encoder {encoder.name!r}, which takes no "
      "words; a text needs a model trained with 'clap'."
    )
  if not text.strip():
    raise InputError("The text is empty; describe a style of dance or music.")
  return encoder.encode_texts([text])[0]


def read_beats(path: PathLike) -> np.ndarray:
  """Beat times, float64 [n], ascending, from a text file.

  A beat a line, in seconds from the song's start; what follows on a line (the labels
  of an audio editor), empty lines and lines that begin with # are passed over.

  Raises:
    InputError: a line that begins otherwise, or no text; OSError: no such file.
  """
  try:
    lines = pathlib.Path(path).read_text(encoding="utf-8").splitlines()
  except UnicodeDecodeError:
    raise InputError(
      f"{path} is no text; write one beat a line, in seconds from the song's start."
    ) from None
  times = []
  for number, line in enumerate(lines, 1):
    words = line.split()
    if not words or words[0].startswith("#"):
      continue
    try:
      times.append(float(words[0]))
    except ValueError:
      times.append(math.nan)
    if not math.isfinite(times[-1]):
      raise InputError(
        f"{path}, line {number}: {words[0][:20]!r} is no time in seconds."
      )
  return np.unique(np.asarray(times, np.float64))
