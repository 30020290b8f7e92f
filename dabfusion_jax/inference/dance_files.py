"""The files that a dance is saved as: the video, a contact sheet and its settings."""

import concurrent.futures
import json
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import PIL.Image
from jaxtyping import Float32, UInt8

from data_pipeline import files
from data_pipeline.errors import UserError
from data_pipeline.media import writer
from data_pipeline.records.picks import even_indices

MAX_SHEET_FRAMES = 40
_MAX_SHEET_SIDE = 256  # pixels of a frame; a PNG of 40 frames of 512 px takes a second
MADE_ONCE = "A stream is made once: collect or save it, and ask for another."
RECIPE = "recipe"  # among the settings: a hash of all that a dance is made of
_INPUTS = ("image", "music", "scene", "beats")  # settings that may name files


class Part(NamedTuple):
  """Consecutive frames of a dance, with the motion and the sound beside them.

  There may be several frames per frame of the motion.
  """

  frames: UInt8[np.ndarray, "t h w 3"]
  flow: Float32[np.ndarray, "m z z 2"]  # latent sampling grids in [-1, 1]
  occlusion: Float32[np.ndarray, "m z z 1"]  # in [0, 1]; 1 where the picture shows all
  audio: Float32[np.ndarray, "s 2"]


def files_of(path: pathlib.Path) -> list[pathlib.Path]:
  """Returns the files of a dance: its video, contact sheet and settings."""
  return [path, path.with_suffix(".png"), path.with_suffix(".json")]


def is_of_dance(path: pathlib.Path) -> bool:
  """Returns whether a file is the video, contact sheet or settings of a dance."""
  settings = _read_settings(path)
  beside = [file.suffix for file in files_of(path)[1:]]
  return settings != {} and path.suffix in (_suffix_of(settings, path), *beside)


def check_overwritten(path: pathlib.Path, inputs: Iterable[str], called: str) -> None:
  """Checks that a dance overwrites nothing but an earlier dance of the same name.

  Args:
    path: of the video. Empty files count as none.
    inputs: names of the files that it is made of, which it never overwrites.
    called: how the user calls the path.

  Raises:
    UserError: it would.
  """
  read = {pathlib.Path(name).resolve() for name in inputs}
  settings = _read_settings(path)
  is_earlier = settings != {} and _suffix_of(settings, path) == path.suffix
  may_replace = path.is_dir() or is_earlier  # a folder is told elsewhere
  whats = ("", " with its contact sheet", " with its settings")
  for file, what in zip(files_of(path), whats, strict=True):
    is_kept = not may_replace and file.exists() and file.stat().st_size
    if is_kept or file.resolve() in read:
      raise UserError(f"{called} would overwrite {file}{what}; choose another name.")


def inputs_of(settings: Mapping[str, Any]) -> list[str]:
  """Returns the names of the files that a dance is made of."""
  named = [settings.get(key) for key in _INPUTS]
  return [name for name in named if isinstance(name, str)]


def _suffix_of(settings: Mapping[str, Any], path: pathlib.Path) -> str:
  """Returns the ending of the video; dances of earlier versions do not tell theirs."""
  return settings.get("video", path.suffix)


def _read_settings(path: pathlib.Path) -> dict[str, Any]:
  """Returns the settings of the dance that a file has the name of; none if there is no
  such dance."""
  try:
    settings = json.loads(path.with_suffix(".json").read_text())
  except (OSError, ValueError):
    return {}
  return settings if isinstance(settings, dict) and "beat_times" in settings else {}


def save_dance(
  path: pathlib.Path,
  parts: Iterable[Part],
  fps: float,
  sample_rate: int,
  settings: Mapping[str, Any],
  still: UInt8[np.ndarray, "h w 3"] | None = None,
) -> list[pathlib.Path]:
  """Writes a dance as its parts are made.

  Args:
    path: of the video (`writer.SUFFIXES`), whose folder is made. A contact sheet (png)
      and the settings (json) are written beside it; the settings also stand in the
      video as a comment. A GIF has the frames of the motion alone: three times as many
      are as large.
    parts: in order.
    fps: frames per second.
    sample_rate: of the sound.
    settings: with the number of frames, `total_frames`, and `motion_fps`.
    still: a picture to show to the left of the dance, of the height of its frames.

  Returns:
    The three files.

  Raises:
    KeyboardInterrupt: after Ctrl-C. What was made by then is saved, unless more of the
      same dance was before; the text says what there is.
    UserError: the place cannot be written, files there are no dance's, or the parts
      were made before.
  """
  saved = files_of(path)
  check_overwritten(path, inputs_of(settings), str(path))
  earlier = _read_settings(path)
  is_same = RECIPE in settings and earlier.get(RECIPE) == settings[RECIPE]
  made_earlier = earlier.get("total_frames", 0) if is_same and path.exists() else 0
  files.check_writable(path, is_folder=False)
  for file in saved:
    files.remove_parts(file)
  if path.suffix.lower() == ".gif":
    motion_fps = settings["motion_fps"]
    times = round(fps / motion_fps)
    parts = (part._replace(frames=part.frames[::times]) for part in parts)
    total = settings["total_frames"] // times
    settings, fps = {**settings, "total_frames": total, "fps": motion_fps}, motion_fps
  shown = set(even_indices(settings["total_frames"], MAX_SHEET_FRAMES))
  sheet: list[np.ndarray] = []
  made, interrupted = 0, False
  written: concurrent.futures.Future | None = None
  comment = json.dumps(settings)
  with (
    writer.open_video(path, int(fps), sample_rate, comment=comment) as video,
    # One part is encoded while the next is made: the encoder releases the GIL.
    concurrent.futures.ThreadPoolExecutor(max_workers=1) as encoder,
  ):
    try:
      for part in parts:
        frames = part.frames
        sheet += [_small(x) for i, x in enumerate(frames, made) if i in shown]
        if still is not None:
          beside = np.broadcast_to(still, (len(frames), *still.shape))
          frames = np.concatenate([beside, frames], axis=2)
        if written is not None:
          written.result()
        written = encoder.submit(video.write, frames, part.audio)
        made += len(frames)
    except KeyboardInterrupt:
      if 0 < made_earlier >= made:
        seconds = made_earlier / fps
        raise KeyboardInterrupt(f"{path} still has the first {seconds:.1f} s") from None
      if not made:
        raise
      interrupted = True
    if written is not None:
      written.result()
    if made < settings["total_frames"] and not interrupted:
      raise UserError(MADE_ONCE)
    # Before the video stands there: if the rest fails, on a full disk perhaps, the same
    # command knows the video as its own, and makes it again.
    begun = {"total_frames": 0, "interrupted": True, "video": path.suffix}
    files.write_json(saved[2], {**settings, **begun})
  settings = {**settings, "total_frames": made, "interrupted": interrupted}
  settings["video"] = path.suffix
  # The settings first: by them the same command knows its own sheet, and overwrites it.
  files.write_json(saved[2], settings)
  writer.write_image(saved[1], contact_sheet(np.stack(sheet)))
  if interrupted:
    raise KeyboardInterrupt(f"{path} has the first {made / fps:.1f} s")
  return saved


def _small(frame: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h2 w2 3"]:
  """Returns a copy whose longer side has at most `_MAX_SHEET_SIDE` pixels."""
  longest = max(frame.shape[:2])
  side = min(longest, _MAX_SHEET_SIDE)
  height, width = (max(1, round(n * side / longest)) for n in frame.shape[:2])
  image = PIL.Image.fromarray(frame)
  # The mean of an area. A copy: a view would keep all frames of its part.
  return np.array(image.resize((width, height), PIL.Image.Resampling.BOX))


def contact_sheet(
  frames: UInt8[np.ndarray, "t h w 3"], columns: int = 10
) -> UInt8[np.ndarray, "sheet_h sheet_w 3"]:
  """Returns all frames in rows of `columns`, the last row filled with black."""
  missing = -len(frames) % columns
  frames = np.concatenate([frames, np.zeros((missing, *frames.shape[1:]), np.uint8)])
  count, height, width, _ = frames.shape
  grid = frames.reshape(count // columns, columns, height, width, 3)
  return grid.swapaxes(1, 2).reshape(-1, columns * width, 3)
