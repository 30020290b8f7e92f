"""Caches beats and embeddings of music in a folder.

Of the music itself, only a hash is stored. Entries that are not valid are computed
again, and errors in writing are ignored, because a cache only saves time.
"""

import contextlib
import functools
import hashlib
import importlib.metadata
import inspect
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging
from jaxtyping import Float32

from data_pipeline import files
from data_pipeline.music.encoders import MusicEncoder
from data_pipeline.music.tracked import Tracked
from data_pipeline.music.trackers import BeatTracker

MAX_BYTES = 2**25  # of a user's folder: about 10,000 windows of music
_MAX_JSON_BYTES = 2**22
_LIBRARIES = ("librosa", "numpy", "scipy")  # by whose versions numbers may differ


class _KeptEncoder:
  """Looks for embeddings in a folder first; see `keep_embeddings`."""

  def __init__(self, encoder: MusicEncoder, folder: pathlib.Path) -> None:
    self.name, self.size, self.identity = encoder.name, encoder.size, encoder.identity
    self.sample_rate = encoder.sample_rate
    self._encoder, self._folder = encoder, folder
    self._code = _hash_of(inspect.getfile(type(encoder)))

  def __call__(
    self, audio: Float32[np.ndarray, "s"], sample_rate: int
  ) -> Float32[np.ndarray, "d"]:
    """Returns the embedding of mono sound."""
    return self.encode_batch([audio], sample_rate)[0]

  def encode_batch(
    self, sounds: Sequence[Float32[np.ndarray, "..."]], sample_rate: int
  ) -> Float32[np.ndarray, "n d"]:
    """Returns the embeddings of several mono sounds, and keeps new ones."""
    about = (self.identity, int(sample_rate), self._code)
    paths = [self._folder / f"{_key(sound, *about)}.f32" for sound in sounds]
    vectors = [self._read(path) for path in paths]
    new = [i for i, vector in enumerate(vectors) if vector is None]
    if new:
      made = self._encoder.encode_batch([sounds[i] for i in new], sample_rate)
      for i, vector in zip(new, made, strict=True):
        vectors[i] = vector
        # Whole, because several processes may write the same file.
        with contextlib.suppress(OSError), files.whole_file(paths[i]) as file:
          file.write_bytes(vector.astype("<f4").tobytes())
    return np.stack(vectors)

  def _read(self, path: pathlib.Path) -> Float32[np.ndarray, "d"] | None:
    content = _read_bytes(path, 4 * self.size)
    if content is None or len(content) != 4 * self.size:
      return None
    vector = np.frombuffer(content, "<f4").astype(np.float32)
    return vector if np.isfinite(vector).all() and vector.any() else None


class _KeptTextEncoder(_KeptEncoder):
  """The same of an encoder that also takes text."""

  def encode_texts(self, texts: Sequence[str]) -> Float32[np.ndarray, "n d"]:
    """Returns the embeddings of texts, which are not kept."""
    return self._encoder.encode_texts(texts)


class _KeptTracker:
  """Looks for beats in a folder first; see `keep_beats`."""

  def __init__(self, tracker: BeatTracker, folder: pathlib.Path) -> None:
    self.name, self._tracker, self._folder = tracker.name, tracker, folder

  @property
  def identity(self) -> Mapping[str, Any]:
    """Returns that of the tracker."""
    return self._tracker.identity

  def __call__(
    self, audio: Float32[np.ndarray, "s"], sample_rate: int, bpm: float | None = None
  ) -> Tracked:
    """Finds the beats of a song, and keeps them; see `BeatTracker`."""
    tempo = None if bpm is None else float(bpm)
    # All of this folder takes part in the tracking of beats.
    code = _hash_of(*sorted(pathlib.Path(__file__).parent.glob("*.py")))
    key = _key(audio, self.identity, int(sample_rate), tempo, code)
    path = self._folder / f"{key}.json"
    found = _read_tracked(path)
    if found is None:
      found = self._tracker(audio, sample_rate, bpm)
      other = found.other_bpm
      content = {
        "times": found.times.tolist(),
        "downbeats": found.downbeats.tolist(),
        "doubt": found.doubt,
        "other_bpm": None if other is None else float(other),
      }
      with contextlib.suppress(OSError):
        files.write_json(path, content)
    return found


def keep_embeddings(encoder: MusicEncoder, folder: pathlib.Path) -> MusicEncoder:
  """Returns the encoder with a cache in `folder`.

  It saves time for the nine cameras of a dance, for a build that is resumed, and for a
  song that is danced to again.
  """
  _make(folder)
  takes_text = hasattr(encoder, "encode_texts")
  return (_KeptTextEncoder if takes_text else _KeptEncoder)(encoder, folder)


def keep_beats(tracker: BeatTracker, folder: pathlib.Path) -> BeatTracker:
  """Returns the tracker with a cache in `folder`."""
  _make(folder)
  return _KeptTracker(tracker, folder)


def users_folder() -> pathlib.Path | None:
  """Returns this user's private folder for cached music, trimmed to MAX_BYTES.

  The entries that were read or written longest ago are removed. Returns None, with a
  warning of one line, if the folder cannot be written.
  """
  try:
    folder = files.cache_folder() / "music"
    files.make_private(folder)
    files.remove_oldest(folder, MAX_BYTES)
  except (OSError, RuntimeError) as error:  # RuntimeError: a user without a home
    logging.warning(
      "What is heard of songs is not kept (%s); name a folder for it with %s.",
      error,
      files.VARIABLE,
    )
    return None
  return folder


def _make(folder: pathlib.Path) -> None:
  with contextlib.suppress(OSError):  # then nothing is kept
    folder.mkdir(parents=True, exist_ok=True)


def _key(sound: np.ndarray, *about: object) -> str:
  """Returns the name of an entry, a hash of the sound and of what it depends on."""
  described = json.dumps([*about, sound.dtype.str, _versions()], sort_keys=True)
  digest = hashlib.sha256(described.encode() + np.ascontiguousarray(sound).tobytes())
  return digest.hexdigest()


@functools.cache
def _versions() -> list[str]:
  return [importlib.metadata.version(name) for name in _LIBRARIES]


@functools.cache
def _hash_of(*paths: str | pathlib.Path) -> str:
  """Returns a hash of files of code, whose changes make entries invalid."""
  digest = hashlib.sha256()
  for path in paths:
    digest.update(pathlib.Path(path).read_bytes())
  return digest.hexdigest()


def _read_bytes(path: pathlib.Path, most: int) -> bytes | None:
  """Returns the bytes of an entry, and marks it as used; None if it is unreadable."""
  try:
    with path.open("rb") as file:
      content = file.read(most + 1)
    path.touch()
  except OSError:
    return None
  return content if len(content) <= most else None


def _read_tracked(path: pathlib.Path) -> Tracked | None:
  """Returns the beats of an entry; None unless they are what a tracker returns."""
  content = _read_bytes(path, _MAX_JSON_BYTES)
  if content is None:
    return None
  try:
    fields = json.loads(content)
    times, downbeats = (_times(fields[name]) for name in ("times", "downbeats"))
    doubt, other = fields["doubt"], fields["other_bpm"]
  except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
    return None
  is_tempo = other is None or isinstance(other, float) and 0 < other < np.inf
  if not (is_tempo and isinstance(doubt, str) and np.isin(downbeats, times).all()):
    return None
  return Tracked(times, downbeats, doubt, other)


def _times(values: object) -> np.ndarray:
  """Returns beats, float64 [n].

  Raises:
    ValueError: they are no list of ascending numbers that are not negative.
  """
  if not isinstance(values, list) or not all(isinstance(x, float) for x in values):
    raise ValueError("no list of numbers")
  times = np.array(values, np.float64)
  if not (np.isfinite(times).all() and (np.diff(times, prepend=0.0) >= 0).all()):
    raise ValueError("no ascending times")
  return times
