"""Provides any folder of dance videos: free names, any size, rate and container."""

import csv
import dataclasses
import hashlib
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
  Finding,
  SourceVideo,
  Survey,
  VideoFile,
  list_files,
  read_song,
)

COLUMNS = ("file", "split", "song", "genre", "dancer", "camera")
_SPLIT = re.compile(r"(?!all$)[a-z][a-z0-9_]{0,39}")
_TEXT = re.compile(r"[^\x00-\x1f\x7f]{0,80}")
_HASHED_BYTES, _SMALLEST_BYTES = 2**16, 2**10  # at the start of a film; of a film

Rows = dict[str, dict[str, str]]  # the other columns of the metadata, by file


@dataclasses.dataclass(frozen=True)
class FolderSource:
  """A folder of videos with sound.

  A silent video uses the song of the same name beside it (`a.mp4`, `a.wav`). Videos
  may consist of several shots; each clip stays inside one.

  Attributes:
    videos: folder, searched with all its subfolders.
    metadata: a csv file whose column `file` lists the videos to use, as paths in the
      folder; optional columns `split`, `song`, `genre`, `dancer`, `camera`. None uses
      all videos.
    test_percent: about the percentage of songs kept for testing, at least one. Videos
      with the same `song`, and copies of a file, go to the same split: that of those
      with a `split`, if there are any. Without metadata, each video is a song.
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
    """Returns the name, a hash of the metadata, and the percentage for testing."""
    rows = None if self.metadata is None else _read_metadata(self.metadata)
    digest = hashlib.sha256(repr(sorted(rows.items())).encode()) if rows else None
    return {
      "name": self.name,
      "metadata_sha256": digest.hexdigest() if digest else None,
      "test_percent": self.test_percent,
    }

  def survey(self) -> Survey:
    """Lists the videos of the metadata, or all videos of the folder."""
    root = pathlib.Path(self.videos)
    paths = list_files(self.videos)
    files = {
      path.relative_to(root).as_posix(): path
      for path in paths
      if path.suffix.lower() in VIDEO_SUFFIXES
      and not path.name.startswith(".")
      and (path.is_file() or (path.is_symlink() and not path.exists()))
    }
    rows, findings = self._usable_rows(files)
    findings += [
      Finding("ignored", path.relative_to(root).as_posix(), "a link to a folder")
      for path in paths
      if path.is_symlink() and path.is_dir()
    ]
    beside = _songs_of(paths)
    # Videos of one group go to the same split.
    groups = _join_groups(rows, {file: _content_key(files[file]) for file in rows})
    splits, more = _choose_splits(rows, groups, self.test_percent)
    findings += more
    videos, songs = [], {}
    for file, row in rows.items():
      name, path = _safe_name(file), files[file]
      music = beside.get(path.with_suffix(""), "")
      videos.append(
        SourceVideo(
          name=name,
          split=splits[file],
          song=name,  # two videos may start anywhere in a song: each has its own
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

  def _usable_rows(
    self, files: Mapping[str, pathlib.Path]
  ) -> tuple[Rows, list[Finding]]:
    """Returns the metadata of the videos to use, and findings for all others."""
    if self.metadata is None:
      return {file: {} for file in sorted(files)}, []
    rows = _read_metadata(self.metadata)
    # Rows are only compared with the files that the search found, so that no row can
    # name a file outside of the folder.
    findings = [
      Finding("missing", file, "no such video under --videos; paths are relative to it")
      for file in sorted(rows.keys() - files.keys())
    ]
    findings += [
      Finding("unlisted", file, "not in the metadata")
      for file in sorted(files.keys() - rows.keys())
    ]
    usable = {}
    for file in sorted(rows.keys() & files.keys()):
      problem = _problem(rows[file])
      if problem:
        findings.append(Finding("ignored", file, problem))
      else:
        usable[file] = rows[file]
    return usable, findings

  def song_audio(
    self, song: str, files: Sequence[str]
  ) -> tuple[Float32[np.ndarray, "s"], int]:
    """Reads a song from the first file that can be read."""
    return read_song(song, files)

  def video_file(self, video: SourceVideo, folder: pathlib.Path) -> VideoFile:
    """Returns the file of a video; writes nothing to `folder`."""
    del folder
    music = pathlib.Path(video.music_file) if video.music_file else None
    return VideoFile(pathlib.Path(video.file), music)


def _songs_of(paths: Sequence[pathlib.Path]) -> dict[pathlib.Path, str]:
  """Returns the songs of a folder by their paths without suffix, the best format."""
  songs = [p for p in paths if p.suffix.lower() in SONG_SUFFIXES and p.is_file()]
  songs.sort(key=lambda path: SONG_SUFFIXES.index(path.suffix.lower()), reverse=True)
  return {path.with_suffix(""): str(path) for path in songs}


def _read_metadata(path: str) -> Rows:
  """Reads rows by file; raises UserError unless it is a csv of `COLUMNS`."""
  try:
    with open(path, newline="", encoding="utf-8-sig") as file:
      reader = csv.DictReader(file)
      columns = [name.strip().lower() for name in reader.fieldnames or ()]
      if "file" not in columns:
        raise UserError("it has no column 'file'")
      # Misspelt, one has no effect. Spreadsheets add some without a name.
      if unknown := sorted(set(columns) - {*COLUMNS, ""}):
        known = ", ".join(COLUMNS)
        raise UserError(f"it has the unknown column {unknown[0]!r}; known: {known}")
      if twice := [name for name in COLUMNS if columns.count(name) > 1]:
        raise UserError(f"it has two columns {twice[0]!r}")
      reader.fieldnames = columns
      rows: Rows = {}
      for row in reader:
        values = {key: (row.get(key) or "").strip() for key in COLUMNS}
        if not any(values.values()):  # as spreadsheets leave them
          continue
        name = pathlib.PurePosixPath(values.pop("file")).as_posix()  # `./a` is `a`
        if name in rows:
          raise UserError(f"{name!r} is in two rows")
        rows[name] = values
  except (OSError, UnicodeDecodeError, csv.Error, UserError) as error:
    raise UserError(f"{path}: cannot be used as metadata, {error}.") from error
  return rows


def _problem(row: Mapping[str, str]) -> str:
  """Returns what is wrong with a row of the metadata, or an empty string."""
  split = row.get("split")
  if split and not _SPLIT.fullmatch(split):
    return f"{split!r} cannot name a split; use lower-case letters, digits and '_'"
  for key, value in row.items():
    if not _TEXT.fullmatch(value):
      return f"the {key} is longer than 80 characters or contains control characters"
  return ""


def _content_key(path: pathlib.Path) -> str:
  """Returns a key that is the same for all copies of a film, whatever their names.

  What is too small for a film, or cannot be read, is no copy of anything.
  """
  try:
    with open(path, "rb") as file:
      start = file.read(_HASHED_BYTES)
    if len(start) >= _SMALLEST_BYTES:
      return hashlib.sha256(b"%d|" % path.stat().st_size + start).hexdigest()
  except OSError:  # a broken link, or no permission: the report will mention it
    pass
  return hashlib.sha256(os.fsencode(path)).hexdigest()


def _join_groups(rows: Rows, contents: Mapping[str, str]) -> dict[str, str]:
  """Returns the groups of videos of one song or, as copies, of one content."""
  smaller: dict[str, str] = {}  # a union-find; "0song" comes before "1content"

  def smallest(key: str) -> str:
    while key in smaller:
      key = smaller[key]
    return key

  for file, row in rows.items():
    if row.get("song"):
      keys = {smallest("0" + row["song"]), smallest("1" + contents[file])}
      smaller |= {max(keys): min(keys)} if len(keys) == 2 else {}
  return {file: smallest("1" + content)[1:] for file, content in contents.items()}


def _choose_splits(
  rows: Rows, groups: Mapping[str, str], percent: int
) -> tuple[dict[str, str], list[Finding]]:
  """Returns the split of each video, and what is odd about them.

  Args:
    rows: the metadata of the videos.
    groups: of the videos; those of one group go to the same split.
    percent: of the groups without a given split, for testing.
  """
  given: dict[str, set[str]] = {group: set() for group in groups.values()}
  for file, row in rows.items():
    given[groups[file]] |= {row["split"]} if row.get("split") else set()
  test = _choose_test_groups({g for g, splits in given.items() if not splits}, percent)
  findings, chosen = [], {}
  for file, row in rows.items():
    group, own = groups[file], row.get("split")
    known = sorted(given[group])
    rest = known[0] if len(known) == 1 else "test" if group in test else "train"
    chosen[file] = own or rest
    if len(known) > 1:
      reason = f"the same song or film is in several splits: {', '.join(known)}"
      findings.append(Finding("noted", file, reason))
  return chosen, findings


def _choose_test_groups(groups: set[str], percent: int) -> frozenset[str]:
  """Returns the groups for testing: at least one if there are two, never all.

  It is their own hashes that decide, so that others may come and go, unless too few are
  below the percentage.
  """
  place = {
    group: int.from_bytes(hashlib.sha256(f"test|{group}".encode()).digest()[:8])
    for group in groups
  }
  order = sorted(groups, key=place.__getitem__)
  count = sum(value * 100 < percent * 2**64 for value in place.values())
  count = min(max(count, int(percent > 0)), len(order) - 1)
  return frozenset(order[: max(count, 0)])


def _safe_name(file: str) -> str:
  """Returns a name of letters, digits, '_' and '-' that no other file has."""
  stem = file.rpartition(".")[0]
  safe = re.sub(r"[^A-Za-z0-9_-]+", "_", stem).strip("_-")[:80] or "video"
  return f"{safe}-{zlib.crc32(os.fsencode(file)):08x}"
