"""Music as users give it: a file, or samples in memory."""

import contextlib
import numbers
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import soundfile
from jaxtyping import Float32

from dabfusion_jax.inference.inputs import InputError, PathLike
from data_pipeline.errors import UserError
from data_pipeline.media import reader
from data_pipeline.media.pcm import int16_to_sound

# A file, or samples and their rate, as librosa and soundfile return them: float in
# [-1, 1] or int16, [n] or [n, channels].
Music = PathLike | tuple[Any, int]
_ARRAY = "array"  # the name of music in memory
_RATES = (1_000, 384_000)  # samples per second
_MAX_CHANNELS = 8
_LOUDEST = 16.0  # sound may be mixed above 1, but this is another scale


def name_of(music: Music) -> str:
  """Returns the name of a file, or "array"."""
  return str(music) if isinstance(music, PathLike) else _ARRAY


def key_of(music: Music) -> str | tuple[int, ...]:
  """Returns what is equal for the same file, and for the same objects in memory.

  It tells them apart while they are alive.
  """
  if isinstance(music, PathLike):
    return str(music)
  return tuple(map(id, music)) if isinstance(music, tuple) else (id(music),)


@contextlib.contextmanager
def as_file(music: Music) -> Iterator[PathLike]:
  """Yields a file of the music, a temporary one if it is in memory.

  That holds float32, and is read as any file with these samples.

  Raises:
    InputError: neither a file nor samples with their rate.
  """
  if isinstance(music, PathLike):
    yield music
    return
  samples, rate = _check(music)
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / f"{_ARRAY}.wav"
    soundfile.write(path, samples, rate, subtype="FLOAT")
    try:
      yield path
    except UserError as error:  # the user knows nothing of this file
      raise type(error)(str(error).replace(str(path), _ARRAY)) from error


def _check(
  music: object,
) -> tuple[Float32[np.ndarray, "n *channels"], int]:
  """Returns samples in [-1, 1] and their rate."""
  form = "(samples, sample rate), with samples [n] or [n, channels] in [-1, 1] or int16"
  if not (isinstance(music, tuple) and len(music) == 2):
    found = type(music).__name__
    raise InputError(f"Music is a file, or {form}, not {found}.")
  rate = music[1]
  if not isinstance(rate, numbers.Integral) or not _RATES[0] <= rate <= _RATES[1]:
    raise InputError(
      f"The sample rate must be a whole number from {_RATES[0]} to {_RATES[1]}, not"
      f" {str(rate)[:20]}; music in memory is {form}."
    )
  try:
    samples = np.asarray(music[0])
  except ValueError:  # lists of several lengths
    samples = np.asarray(None)
  is_int16 = samples.dtype.kind == "i" and samples.dtype.itemsize == 2
  if is_int16:
    samples = int16_to_sound(samples.astype(np.int16))
  is_sound = samples.dtype.kind == "f" and samples.ndim in (1, 2)
  if not is_sound or np.prod(samples.shape[1:]) > _MAX_CHANNELS:
    raise InputError(
      f"Music in memory is {form}, not {samples.dtype} {list(samples.shape)}; convert"
      " or transpose it first."
    )
  if not samples.size:
    raise InputError("The music has no samples.")
  largest = float(np.abs(samples).max())  # NaN if one is
  if not largest <= _LOUDEST:
    raise InputError(
      f"The samples of the music reach {largest:.4g}; scale them to [-1, 1]."
    )
  seconds = len(samples) / rate
  if seconds > reader.MAX_SECONDS:
    raise InputError(
      f"The music lasts {seconds / 60:.0f} minutes; cut it to at most"
      f" {reader.MAX_SECONDS // 60}."
    )
  return samples.astype(np.float32), int(rate)
