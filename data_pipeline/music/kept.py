"""Keeps what was heard of music in a folder, so that nobody listens to it again.

Nothing of the music is kept but its hash. An entry that cannot be read is heard anew,
and one that cannot be written costs no more than that.
"""

import contextlib
import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging
from jaxtyping import Float32

from data_pipeline import files
from data_pipeline.errors import UserError
from data_pipeline.files import whole_file
from data_pipeline.music.encoders import MusicEncoder
from data_pipeline.music.tracked import Tracked
from data_pipeline.music.trackers import BeatTracker

MAX_BYTES = 2**25  # of a user's folder: about 10,000 windows of music


class _KeptEncoder:
  """Looks for embeddings in a folder first; see `keep_embeddings`."""

  def __init__(self, encoder: MusicEncoder, folder: pathlib.Path) -> None:
    self.name, self.size, self.identity = encoder.name, encoder.size, encoder.identity
    self.sample_rate = encoder.sample_rate
    self._encoder, self._folder = encoder, folder

  def __call__(
    self, audio: Float32[np.ndarray, "s"], sample_rate: int
  ) -> Float32[np.ndarray, "d"]:
    """Returns the embedding of mono sound."""
    return self.encode_batch([audio], sample_rate)[0]

  def encode_batch(
    self, sounds: Sequence[Float32[np.ndarray, "..."]], sample_rate: int
  ) -> Float32[np.ndarray, "n d"]:
    """Returns the embeddings of several mono sounds, and keeps new ones."""
    paths = [
      self._folder / f"{_key(sound, self.identity, sample_rate)}.npy"
      for sound in sounds
    ]
    vectors = [self._read(path) for path in paths]
    new = [i for i, vector in enumerate(vectors) if vector is None]
    if new:
      made = self._encoder.encode_batch([sounds[i] for i in new], sample_rate)
      for i, vector in zip(new, made, strict=True):
        vectors[i] = vector
        # Whole, because several processes may write the same file.
        with contextlib.suppress(OSError), whole_file(paths[i]) as file:
          np.save(file, vector)
    return np.stack(vectors)

  def _read(self, path: pathlib.Path) -> np.ndarray | None:
    try:
      vector = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
      return None
    fits = isinstance(vector, np.ndarray) and vector.dtype == np.float32
    return vector if fits and vector.shape == (self.size,) else None


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
    key = _key(audio, self.identity, sample_rate, bpm)
    path = self._folder / f"{key}.json"
    found = _read_tracked(path)
    if found is None:
      found = self._tracker(audio, sample_rate, bpm)
      fields = dataclasses.asdict(found)
      lists = {name: list(fields[name]) for name in ("times", "downbeats")}
      with contextlib.suppress(OSError):
        files.write_json(path, fields | lists)
    return found


def keep_embeddings(encoder: MusicEncoder, folder: pathlib.Path) -> MusicEncoder:
  """Returns the encoder with a cache in `folder`.

  It saves time for the nine cameras of a dance, for a build that is resumed, and for a
  song that is danced to again.
  """
  folder.mkdir(parents=True, exist_ok=True)
  takes_text = hasattr(encoder, "encode_texts")
  return (_KeptTextEncoder if takes_text else _KeptEncoder)(encoder, folder)


def keep_beats(tracker: BeatTracker, folder: pathlib.Path) -> BeatTracker:
  """Returns the tracker with a cache in `folder`."""
  folder.mkdir(parents=True, exist_ok=True)
  return _KeptTracker(tracker, folder)


def users_folder() -> pathlib.Path | None:
  """Returns this user's folder for what was heard, without what exceeds MAX_BYTES.

  Returns None, and says so in one line, if there is none that can be written.
  """
  try:
    folder = files.cache_folder() / "music"
    files.check_writable(folder, is_folder=True)
    files.remove_oldest(folder, MAX_BYTES)
  except (UserError, OSError, RuntimeError) as error:  # RuntimeError: no home
    logging.warning(
      "What is heard of songs is not kept (%s); name a folder for it with %s.",
      error,
      files.VARIABLE,
    )
    return None
  return folder


def _key(sound: np.ndarray, *about: object) -> str:
  """Returns the name of what is heard in a sound, about which more is said."""
  described = json.dumps([*about, sound.dtype.str, _code()], sort_keys=True)
  digest = hashlib.sha256(described.encode() + np.ascontiguousarray(sound).tobytes())
  return digest.hexdigest()


@functools.cache
def _code() -> str:
  """Returns a hash of the code that listens: whoever changes it hears the change."""
  digest = hashlib.sha256(importlib.metadata.version("librosa").encode())
  for path in sorted(pathlib.Path(__file__).parent.glob("*.py")):
    digest.update(path.read_bytes())
  return digest.hexdigest()


def _read_tracked(path: pathlib.Path) -> Tracked | None:
  try:
    fields = files.read_json(path)
    times, downbeats = (
      np.asarray(fields.pop(name), np.float64) for name in ("times", "downbeats")
    )
    return Tracked(times, downbeats, **fields)
  except (OSError, UserError, KeyError, TypeError, ValueError):
    return None
