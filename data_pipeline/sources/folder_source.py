"""Any folder of dance videos: free names, any size, rate and container."""

import csv
import dataclasses
import hashlib
import math
import os
import pathlib
import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32

from data_pipeline.errors import UserError
from data_pipeline.sources.base import (
  SONG_SUFFIXES,
  VIDEO_SUFFIXES,
  Film,
  Finding,
  SourceVideo,
  Survey,
  song_from_files,
)

COLUMNS = ("file", "split", "song", "genre", "dancer", "camera")
_SPLIT = re.compile(r"(?!all$)[a-z][a-z0-9_]{0,39}")
_TEXT = re.compile(r"[^\x00-\x1f\x7f]{0,80}")
_HASHED_BYTES = 2**16  # of the start of a file


@dataclasses.dataclass(frozen=True)
class Folder:
  """A folder of videos with their sound.

  A video without sound takes a song of the same stem beside it (`a.mp4`, `a.wav`).
  Videos may be cut together of several shots; clips stay inside one.

  Attributes:
    videos: folder, searched with all its subfolders.
    metadata: a csv file whose `file` column lists the videos to use, as paths in the
      folder; optional columns `split`, `song`, `genre`, `dancer`, `camera`. None: all.
    test_percent: songs kept for testing where no split is given; videos of one song
      (or of the same content) go together.
  """

  videos: str
  metadata: str | None = None
  test_percent: int = 10
  name: str = "folder"
  finds_shots: bool = True

  def __post_init__(self) -> None:
    if not pathlib.Path(self.videos).is_dir():
      raise UserError(f"{self.videos}: no such folder; check the path.")
    if not 0 <= self.test_percent < 100:
      raise UserError(f"{self.test_percent} % cannot be kept for testing; give 0-99.")
    if self.metadata is not None:
      _read_metadata(self.metadata)

  def description(self) -> dict[str, Any]:
    rows = None if self.metadata is None else _read_metadata(self.metadata)
    listed = hashlib.sha256(repr(sorted(rows.items())).encode()) if rows else None
    return {
      "name": self.name,
      "metadata_sha256": listed.hexdigest() if listed else None,
      "test_percent": self.test_percent,
    }

  def survey(self) -> Survey:
    root = pathlib.Path(self.videos)
    files = {
      path.relative_to(root).as_posix(): path
      for path in sorted(root.rglob("*"))
      if path.suffix.lower() in VIDEO_SUFFIXES
      and not path.name.startswith(".")
      and (path.is_file() or (path.is_symlink() and not path.exists()))
    }
    rows: Mapping[str, Mapping[str, str]] = {file: {} for file in files}
    findings = []
    if self.metadata is not None:
      rows = _read_metadata(self.metadata)
      # Rows are only ever compared with what the search found: a row cannot name a
      # file outside of the folder.
      absent = sorted(rows.keys() - files.keys())
      findings += [Finding("missing", file, "in the metadata only") for file in absent]
      extra = sorted(files.keys() - rows.keys())
      findings += [Finding("unlisted", file, "not in the metadata") for file in extra]
    used = {}
    for file in sorted(rows.keys() & files.keys()):
      problem = _problem(rows[file])
      if problem:
        findings.append(Finding("ignored", file, problem))
      else:
        used[file] = rows[file]
    groups = {file: row.get("song") or _content_key(files[file])
              for file, row in used.items()}  # fmt: skip
    tested = _tested_groups(set(groups.values()), self.test_percent)
    videos, songs = [], {}
    for file, row in used.items():
      name, path = _safe_name(file), files[file]
      beside = [path.with_suffix(suffix) for suffix in SONG_SUFFIXES]
      music = next((str(song) for song in beside if song.is_file()), "")
      videos.append(
        SourceVideo(
          name=name,
          split=row.get("split") or ("test" if groups[file] in tested else "train"),
          song=name,  # two videos may start anywhere in one song: each has its own
          song_start_seconds=0.0,
          genre=row.get("genre", ""),
          track=row.get("song", ""),
          dancer=row.get("dancer", ""),
          camera=row.get("camera", ""),
          file=str(path),
          music_file=music,
        )
      )
      songs[name] = (str(path), music) if music else (str(path),)
    return Survey(videos, songs, findings)

  def song_audio(
    self, song: str, files: Sequence[str]
  ) -> tuple[Float32[np.ndarray, "s"], int]:
    return song_from_files(song, files)

  def film(self, video: SourceVideo, folder: pathlib.Path) -> Film:
    del folder  # it is there
    music = pathlib.Path(video.music_file) if video.music_file else None
    return Film(pathlib.Path(video.file), music)


def _read_metadata(path: str) -> dict[str, dict[str, str]]:
  """Rows by file; ValueError for anything but a csv with a `file` column."""
  try:
    with open(path, newline="", encoding="utf-8-sig") as file:
      reader = csv.DictReader(file)
      if "file" not in (reader.fieldnames or ()):
        raise UserError("it has no column 'file'")
      rows: dict[str, dict[str, str]] = {}
      for row in reader:
        values = {key: (row.get(key) or "").strip() for key in COLUMNS}
        name = values.pop("file")
        if name in rows:
          raise UserError(f"{name!r} stands in two rows")
        rows[name] = values
  except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
    raise UserError(f"{path}: cannot be used as metadata, {error}.") from error
  return rows


def _problem(row: Mapping[str, str]) -> str:
  """What is wrong with a row of the metadata, or an empty text."""
  split = row.get("split")
  if split and not _SPLIT.fullmatch(split):
    return f"{split!r} cannot name a split; use small letters, digits and '_'"
  for key, value in row.items():
    if not _TEXT.fullmatch(value):
      return f"the {key} is longer than 80 characters or has odd ones"
  return ""


def _content_key(path: pathlib.Path) -> str:
  """The same for copies of a file, whatever their names."""
  try:
    with open(path, "rb") as file:
      start = file.read(_HASHED_BYTES)
    return hashlib.sha256(b"%d|" % path.stat().st_size + start).hexdigest()
  except OSError:  # a link to nowhere, or not for us: the report will have it
    return hashlib.sha256(os.fsencode(path.name)).hexdigest()


def _tested_groups(groups: set[str], percent: int) -> frozenset[str]:
  """The share of groups with the smallest hashes; never all of them."""
  order = sorted(groups, key=lambda g: hashlib.sha256(f"test|{g}".encode()).digest())
  count = min(math.ceil(len(order) * percent / 100), len(order) - 1)
  return frozenset(order[: max(count, 0)])


def _safe_name(file: str) -> str:
  """A name of letters, digits, '_', '-' and '.'; two files never share one."""
  stem = file.rpartition(".")[0]
  safe = re.sub(r"[^A-Za-z0-9_-]+", "_", stem).strip("_-")[:80] or "video"
  return f"{safe}-{zlib.crc32(os.fsencode(file)):08x}"
