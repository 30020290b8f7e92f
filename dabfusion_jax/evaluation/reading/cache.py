"""What was computed of a clip, kept by content and settings.

A key is the sha256 of the files a value was made from, of every setting that matters
and of `VERSION`, so a stale value cannot be found. Damaged entries are computed again.
"""

import hashlib
import json
import os
import pathlib
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from data_pipeline import files

VERSION = 1  # raise when any feature is computed in another way

Arrays = Mapping[str, Any]  # of numpy arrays and scalars


class FeatureCache:
  """A folder of npz files, one for each kind of value and clip."""

  def __init__(self, folder: str | os.PathLike) -> None:
    self._folder = pathlib.Path(folder)
    self._folder.mkdir(parents=True, exist_ok=True)

  def get(
    self,
    kind: str,
    digests: Sequence[str],
    settings: Mapping[str, Any],
    compute: Callable[[], Arrays],
  ) -> dict[str, Any]:
    """The value, from disk or computed and kept.

    Args:
      kind: e.g. "i3d"; a folder of its own.
      digests: of the contents it depends on, in order.
      settings: everything else it depends on; plain values.
      compute: makes it; what it raises is not kept.
    """
    path = self._path(kind, digests, settings)
    try:
      with np.load(path, allow_pickle=False) as content:
        return {name: content[name] for name in content.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
      pass  # absent or damaged
    value = dict(compute())
    path.parent.mkdir(exist_ok=True)
    with files.whole_file(path) as file:
      np.savez(file, **value)
    return value

  def has(self, kind: str, digests: Sequence[str], settings: Mapping[str, Any]) -> bool:
    """Whether `get` would look it up (unless the entry is damaged)."""
    return self._path(kind, digests, settings).is_file()

  def _path(self, kind, digests, settings) -> pathlib.Path:
    text = json.dumps([VERSION, list(digests), settings], sort_keys=True)
    key = hashlib.sha256(text.encode()).hexdigest()
    return self._folder / kind / f"{key}.npz"
