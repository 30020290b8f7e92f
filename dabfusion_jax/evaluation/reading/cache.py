"""Keeps what was computed from clips on disk, found again by content and settings.

A key is the SHA-256 of the digests of what a value was made from, of every setting that
matters, and of `VERSION`, so a stale value cannot be found. Damaged entries are
computed again.
"""

import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tqdm

from data_pipeline import files

VERSION = 4  # raise when any feature is computed in another way

Arrays = Mapping[str, np.ndarray | np.generic]


class Key(NamedTuple):
  """What a value depends on.

  Attributes:
    digests: of the contents it is made from, in order.
    settings: everything else; plain values.
  """

  digests: Sequence[str]
  settings: Mapping[str, Any]


class FeatureCache:
  """A folder of npz files, one for each kind of value and key."""

  def __init__(self, folder: str | os.PathLike) -> None:
    self._folder = pathlib.Path(folder)
    self._folder.mkdir(parents=True, exist_ok=True)

  def get(self, kind: str, key: Key, compute: Callable[[], Arrays]) -> Arrays:
    """Returns a value from disk, or computes and keeps it.

    Args:
      kind: such as "i3d"; a folder of its own.
      key: what the value depends on.
      compute: makes the value; if it raises, nothing is kept.
    """
    path = self._path(kind, key)
    try:
      with np.load(path, allow_pickle=False) as content:
        return {name: content[name] for name in content.files}
    except files.DAMAGED_NPZ:
      pass  # absent or damaged
    value = dict(compute())
    path.parent.mkdir(exist_ok=True)
    with files.whole_file(path) as file:
      np.savez(file, **value)
    return value

  def get_all(
    self,
    kind: str,
    keys: Sequence[Key],
    compute: Callable[[Sequence[int]], Iterable[Arrays]],
    batch_size: int,
    title: str,
  ) -> list[Arrays]:
    """Returns the values of many keys; those that are missing are computed in batches.

    Args:
      kind: see `get`.
      keys: what each value depends on.
      compute: makes the values of some keys, given their indices.
      batch_size: the most values that one call of `compute` makes.
      title: of the progress bar.
    """
    missing = [i for i, key in enumerate(keys) if not self._path(kind, key).is_file()]
    options = {"desc": title, "unit": "clip", "leave": False, "disable": not missing}
    with tqdm.tqdm(total=len(missing), **options) as bar:
      for first in range(0, len(missing), batch_size):
        batch = missing[first : first + batch_size]
        for i, value in zip(batch, compute(batch), strict=True):
          self.get(kind, keys[i], lambda value=value: value)
        bar.update(len(batch))
    compute_one = lambda i: next(iter(compute([i])))
    return [
      self.get(kind, key, lambda i=i: compute_one(i)) for i, key in enumerate(keys)
    ]

  def _path(self, kind: str, key: Key) -> pathlib.Path:
    content = [VERSION, list(key.digests), dict(key.settings)]
    text = json.dumps(content, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return self._folder / kind / f"{digest}.npz"
