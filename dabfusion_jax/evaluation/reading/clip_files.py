"""Finds the clips of a folder: an export, or the videos of any system.

A clip is NAME.npz (lossless), NAME.mp4 (or another video), or both; with both, the
frames come from the npz and the sound from the video. NAME is the path inside the
folder without its suffix.
"""

import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Collection
from typing import Any

from data_pipeline import files
from data_pipeline.errors import UserError
from data_pipeline.sources.base import VIDEO_SUFFIXES

VIDEO_ENDINGS = (*VIDEO_SUFFIXES, ".gif")
PARTS = ("samples", "references")


class ClipError(UserError):
  """A clip or folder that cannot be evaluated; says which, why, and what to do."""


@dataclasses.dataclass(frozen=True)
class ClipFile:
  """The files of a clip, its side of an evaluation, and a digest of their contents."""

  part: str  # "samples" or "references"
  name: str
  arrays: pathlib.Path | None
  video: pathlib.Path | None
  digest: str


def find_clips(
  folder: str | os.PathLike, part: str, names: Collection[str] | None = None
) -> dict[str, ClipFile]:
  """Returns the clips of a folder by name, sorted; hidden files are skipped.

  Args:
    folder: an export, or any folder of videos and npz files.
    part: "samples" or "references", the subfolder to search if the folder is an export.
    names: of the clips to return, if they are there; None: all.

  Raises:
    ClipError: there is no such folder, or nothing in it could be a clip.
  """
  paths = find_paths(folder, part)
  chosen = sorted(paths if names is None else paths.keys() & set(names))
  files = {name: paths[name] for name in chosen}
  return {
    name: ClipFile(
      part, name, own.get("arrays"), own.get("video"), _digest(*own.values())
    )
    for name, own in files.items()
  }


def find_paths(
  folder: str | os.PathLike, part: str
) -> dict[str, dict[str, pathlib.Path]]:
  """Returns the "arrays" and the "video" of each clip, those that there are.

  Args and raises: as `find_clips`.
  """
  root = pathlib.Path(folder)
  if not root.is_dir():
    raise ClipError(f"{root} is not a folder; give a folder of videos or an export.")
  manifest = read_manifest(root)
  if (root / part).is_dir() and (manifest or all((root / p).is_dir() for p in PARTS)):
    root = root / part
  paths: dict[str, dict[str, pathlib.Path]] = {}
  is_gif = lambda path: path.suffix.lower() == ".gif"
  for path in sorted(root.rglob("*"), key=lambda path: (is_gif(path), path)):
    kind = "video" if path.suffix.lower() in VIDEO_ENDINGS else "arrays"
    inside = path.relative_to(root)
    is_hidden = any(part.startswith(".") for part in inside.parts)
    if kind == "arrays" and path.suffix != ".npz" or is_hidden:
      continue
    name = inside.with_suffix("").as_posix()
    if name != os.fsencode(name).decode(errors="replace"):
      raise ClipError(f"{root}: the name {name!r} is not UTF-8; rename the file.")
    own = paths.setdefault(name, {})
    if kind in own and is_gif(path):  # a preview beside the video
      continue
    if kind in own:
      raise ClipError(
        f"{path} and {own[kind]} are two clips with one name; rename one."
      )
    own[kind] = path
  if manifest:  # the npz comes last: without it, a clip is not finished
    paths = {name: own for name, own in paths.items() if "arrays" in own}
  if not paths:
    endings = ", ".join((".npz", *VIDEO_ENDINGS))
    raise ClipError(f"{root} holds no clips; their names end in {endings}.")
  return paths


def read_manifest(folder: pathlib.Path) -> dict[str, Any]:
  """Returns the manifest of an export, or of that a folder is part of; else {}.

  Raises:
    ClipError: it is damaged.
  """
  root = folder.parent if folder.name in PARTS else folder
  path = root / "manifest.json"
  try:
    manifest = files.read_json(path) if path.is_file() else {}
  except (UserError, OSError) as error:
    if all((root / part).is_dir() for part in PARTS):
      raise ClipError(str(error)) from error
    return {}  # of some other program
  if "format" not in manifest:
    return {}
  for key, kind in (("num_clips", int), ("label", str)):
    if type(manifest.get(key, kind())) is not kind:
      raise ClipError(f"{path} is damaged ({key}); export the clips again.")
  return manifest


def _digest(*paths: pathlib.Path) -> str:
  digest = hashlib.sha256()
  for path in sorted(paths, key=lambda p: p.suffix):
    digest.update(path.suffix.encode())
    try:
      digest.update(bytes.fromhex(files.file_sha256(path)))
    except OSError:  # a dangling link, say: reading it will tell
      digest.update(b"unreadable")
  return digest.hexdigest()
