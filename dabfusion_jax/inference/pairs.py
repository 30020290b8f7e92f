"""The pairs of pictures and songs to make dances of, and the files they become."""

import pathlib
import re
from collections.abc import Sequence
from typing import NamedTuple

from dabfusion_jax.inference.dance_files import check_overwritten, is_of_dance
from data_pipeline import files
from data_pipeline.errors import UserError
from data_pipeline.media import writer
from data_pipeline.sources.base import SONG_SUFFIXES, VIDEO_SUFFIXES

PICTURE_SUFFIXES = (
  *(".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff"),
  *(".avif", ".heic", ".heif"),
)
MUSIC_SUFFIXES = SONG_SUFFIXES + VIDEO_SUFFIXES  # of what has sound


class Pair(NamedTuple):
  """A picture, a song, and the video of the dance."""

  image: str
  music: str
  output: pathlib.Path


def name_in(text: str, *names: str) -> str:
  """Returns an error with the inputs that it belongs to, each of them named once."""
  named = named_in(text, *names)
  missing = " to ".join(name for name in names if name not in named)
  return f"{missing}: {text}" if missing else text


def named_in(text: str, *names: str) -> list[str]:
  """Returns the inputs that an error names, each once."""
  whole = r"(?<![\w./-]){}(?![\w/-]|\.\w)"  # `a` is not named by `b/a` or `a.mp3`
  is_named = lambda name: re.search(whole.format(re.escape(name)), text)
  return [name for name in dict.fromkeys(names) if is_named(name)]


def check_inputs(*names: str) -> None:
  """Checks that all files and folders are there, before the first dance is made.

  Raises:
    UserError: some are not; the message names them.
  """
  local = [name for name in names if "://" not in name]
  missing = [name for name in local if not pathlib.Path(name).exists()]
  if missing:
    raise UserError(f"There is no file or folder {', '.join(missing)}; check the name.")


def make_pairs(
  images: Sequence[str], musics: Sequence[str], output: pathlib.Path
) -> list[Pair]:
  """Returns all pairs of pictures and songs.

  Args:
    images, musics: files, or folders of them.
    output: of the video. If there are several, the names of picture and song are added
      to its name. Without an ending it is a folder, in which these names are all.

  Raises:
    UserError: nothing of the kind is in a folder, or the video has no name.
  """
  if output.name.lower() in writer.SUFFIXES:
    raise UserError(f"--output={output} is an ending alone; name a file or a folder.")
  images = _files_in(images, PICTURE_SUFFIXES, "picture")
  musics = _files_in(musics, SONG_SUFFIXES, "song")
  chosen = [(image, music) for music in musics for image in images]
  is_folder = output.is_dir() or not output.suffix
  if len(chosen) == 1 and not is_folder:
    return [Pair(*chosen[0], output)]
  folder, suffix = (output, ".mp4") if is_folder else (output.parent, output.suffix)
  begin = "" if is_folder else f"{output.stem}_"
  pairs, taken = [], set()
  for image, music in chosen:
    stem = f"{begin}{pathlib.Path(image).stem}_{pathlib.Path(music).stem}"
    name, count = stem, 1
    while name in taken:
      count += 1
      name = f"{stem}_{count}"
    taken.add(name)
    pairs.append(Pair(image, music, folder / f"{name}{suffix}"))
  return pairs


def note_skipped(folders: Sequence[str], pairs: Sequence[Pair]) -> str | None:
  """Returns a note on files in folders that are in no pair; None if there are none."""
  taken = {name for pair in pairs for name in (pair.image, pair.music)}
  inside = (path for name in folders if _is_folder(name) for path in _own_files(name))
  skipped = [path.name for path in dict.fromkeys(inside) if str(path) not in taken]
  if not skipped:
    return None
  named = ", ".join(skipped[:3]) + ", ..." * (len(skipped) > 3)
  return f"skipped what is neither picture nor song ({len(skipped)}): {named}"


def _is_folder(name: str) -> bool:
  return "://" not in name and pathlib.Path(name).is_dir()


def _own_files(folder: str) -> list[pathlib.Path]:
  """Returns what users have put into a folder, in the order of the names."""
  return [
    path
    for path in sorted(pathlib.Path(folder).iterdir())
    if not path.name.startswith(".")
    and path.name.lower() not in ("thumbs.db", "desktop.ini")
    and not path.is_dir()
    and not is_of_dance(path)
  ]


def _files_in(names: Sequence[str], suffixes: Sequence[str], kind: str) -> list[str]:
  """Returns files as they are, and those of folders in the order of their names.

  What an earlier dance has written into a folder is not taken.
  """
  found: list[str] = []
  for name in names:
    if not _is_folder(name):
      found.append(name)
      continue
    inside = [str(p) for p in _own_files(name) if p.suffix.lower() in suffixes]
    if not inside:
      raise UserError(f"{name}: there is no {kind} in this folder; name another one.")
    found += inside
  return found


def check_output(path: pathlib.Path, *inputs: str) -> None:
  """Creates the folder of the video, and checks that the video may be written there.

  Raises:
    UserError: a name with another ending, files that would overwrite an input or
      what no earlier dance has written, or a place that cannot be written.
  """
  if path.suffix.lower() not in writer.SUFFIXES:
    raise UserError(
      f"--output={path} must end in {', '.join(writer.SUFFIXES)}, such as"
      f" {path.with_suffix('.mp4')}, or be a folder."
    )
  check_overwritten(path, inputs, f"--output={path}")
  files.check_writable(path, is_folder=False)
