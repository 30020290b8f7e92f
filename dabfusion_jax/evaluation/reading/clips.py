"""Folders of clips: an export, or the videos of any system.

A clip is NAME.npz (lossless), NAME.mp4 (or another video), or both: then the frames
come from the npz and the sound from the video. NAME is the path inside the folder
without its ending. The npz holds, besides `frames` uint8 [t, h, w, 3] and `fps`, what
is known of a real clip: `audio` int16 [s] with `sample_rate`, `beat_times` and
`true_beat_times` float64 (seconds), `joints2d` float32 [t, 17, 2] and `part_map` uint8
[t, h, w].
"""

import dataclasses
import hashlib
import os
import pathlib
import tempfile
import zipfile
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from data_pipeline import files
from data_pipeline.errors import UserError
from data_pipeline.media import framing, reader, writer
from data_pipeline.media.errors import MediaError

SAMPLE_RATE = 22_050
VIDEO_ENDINGS = (".mp4", ".avi", ".mov", ".webm", ".mkv")
TRUTH = ("beat_times", "true_beat_times", "joints2d", "part_map")
# Coders add some hundredths of a second of sound; 24 fps taken for 30 are 20 %.
_MOST_SECONDS_APART, _MOST_SHARE_APART = 0.15, 0.1


class ClipError(UserError):
  """A clip or folder that cannot be evaluated: which, why, and what to do."""


@dataclasses.dataclass(frozen=True)
class ClipFile:
  """Where a clip lies, and the sha256 of its files."""

  name: str
  arrays: pathlib.Path | None
  video: pathlib.Path | None
  digest: str


@dataclasses.dataclass(frozen=True)
class Clip:
  """A clip in memory. `audio` is mono at SAMPLE_RATE, None without sound."""

  name: str
  frames: UInt8[np.ndarray, "t h w 3"]
  fps: float
  audio: Float32[np.ndarray, "s"] | None
  lossless: bool
  truth: Mapping[str, np.ndarray]


def find_clips(folder: str | os.PathLike, part: str) -> dict[str, ClipFile]:
  """The clips of a folder by name, sorted.

  `part` is "samples" or "references": the sub-folder to look into where the folder is
  an export. Hidden files are skipped.

  Raises:
    ClipError: no such folder, or nothing in it that could be a clip.
  """
  root = pathlib.Path(folder)
  if not root.is_dir():
    raise ClipError(f"{root} is no folder; give a folder of videos or an export.")
  if (root / "manifest.json").is_file() and (root / part).is_dir():
    root = root / part
  found: dict[str, dict[str, pathlib.Path]] = {}
  for path in sorted(root.rglob("*")):
    kind = "video" if path.suffix.lower() in VIDEO_ENDINGS else "arrays"
    if kind == "arrays" and path.suffix != ".npz" or path.name.startswith("."):
      continue
    name = path.relative_to(root).with_suffix("").as_posix()
    if kind in found.setdefault(name, {}):
      raise ClipError(f"{path} and {found[name][kind]} are two clips of one name.")
    found[name][kind] = path
  if not found:
    raise ClipError(f"{root} holds no clips; expected .npz or {VIDEO_ENDINGS}.")
  return {
    name: ClipFile(
      name, paths.get("arrays"), paths.get("video"), _digest(*paths.values())
    )
    for name, paths in sorted(found.items())
  }


def _digest(*paths: pathlib.Path) -> str:
  digest = hashlib.sha256()
  for path in sorted(paths, key=lambda p: p.suffix):
    digest.update(path.suffix.encode())
    digest.update(bytes.fromhex(files.file_sha256(path)))
  return digest.hexdigest()


def read_clip(
  file: ClipFile,
  *,
  fps: float | int | None = None,
  num_frames: int | None = None,
  frame_size: int | None = None,
  segment_frames: int | None = None,
) -> Clip:
  """Reads a clip.

  Args:
    file: from `find_clips`.
    fps: overrides a wrong tag.
    num_frames: cut to the first so many; sound is cut to the same time.
    frame_size: brought to a square of this size (area interpolation, letterboxed).
    segment_frames: the clip is a chain of segments of so many frames, each of which
      begins with the last frame of the one before. The repetition is dropped: it would
      count as a pause of the dance and as an event. Done before `num_frames`.

  Raises:
    ClipError: unreadable, not uint8 (NaN named as such), shorter than `num_frames`,
      frames at uneven times, or sound and picture that last differently, which is what
      a wrong frame rate looks like.
  """
  try:
    clip = _read_arrays(file) if file.arrays else _read_video(file, fps)
  except MediaError as error:
    raise ClipError(str(error)) from None
  if fps is not None:
    clip = dataclasses.replace(clip, fps=float(fps))
  if clip.audio is not None:
    _check_durations(clip)
  if segment_frames is not None:
    seams = range(segment_frames, len(clip.frames), segment_frames)
    clip = dataclasses.replace(clip, frames=np.delete(clip.frames, seams, axis=0))
  if num_frames is not None:
    clip = _cut(clip, num_frames)
  if frame_size is not None and clip.frames.shape[1:3] != (frame_size, frame_size):
    clip = _resize(clip, frame_size)
  if clip.audio is not None:
    length = round(len(clip.frames) / clip.fps * SAMPLE_RATE)
    clip = dataclasses.replace(clip, audio=clip.audio[:length])
  return clip


def _read_arrays(file: ClipFile) -> Clip:
  try:
    with np.load(file.arrays, allow_pickle=False) as content:
      arrays = {key: content[key] for key in content.files}
  except (OSError, ValueError, zipfile.BadZipFile) as error:
    raise ClipError(f"{file.arrays}: damaged ({error}).") from None
  frames = arrays.get("frames")
  if frames is None or "fps" not in arrays:
    raise ClipError(f"{file.arrays}: `frames` and `fps` are needed.")
  if frames.dtype != np.uint8:
    is_float = np.issubdtype(frames.dtype, np.floating)
    what = "NaN" if is_float and not np.isfinite(frames).all() else str(frames.dtype)
    raise ClipError(f"{file.arrays}: frames must be uint8, these hold {what}.")
  if frames.ndim != 4 or frames.shape[-1] != 3 or not len(frames):
    raise ClipError(f"{file.arrays}: frames have shape {frames.shape}, not [t h w 3].")
  fps = float(arrays["fps"])
  if not 0 < fps < np.inf:
    raise ClipError(f"{file.arrays}: `fps` is {fps}; frames per second are needed.")
  for key in ("joints2d", "part_map"):
    if key in arrays and len(arrays[key]) != len(frames):
      raise ClipError(
        f"{file.arrays}: `{key}` is of {len(arrays[key])} frames, `frames` of"
        f" {len(frames)}."
      )
  audio = None
  if "audio" in arrays:
    sound = arrays["audio"]
    if sound.dtype != np.int16 or sound.ndim != 1 or "sample_rate" not in arrays:
      raise ClipError(
        f"{file.arrays}: `audio` must be mono int16 [s] with `sample_rate`, this is"
        f" {sound.dtype} {sound.shape}."
      )
    audio = _resample(sound, int(arrays["sample_rate"]))
  elif file.video:
    audio = _read_sound(file.video)
  truth = {key: arrays[key] for key in TRUTH if key in arrays}
  return Clip(file.name, frames, fps, audio, True, truth)


def _resample(audio: np.ndarray, sample_rate: int) -> np.ndarray:
  audio = audio.astype(np.float32) / 32768
  if sample_rate == SAMPLE_RATE:
    return audio
  import librosa  # slow to import, and rarely needed

  return librosa.resample(audio, orig_sr=sample_rate, target_sr=SAMPLE_RATE)


def _read_video(file: ClipFile, fps: float | int | None) -> Clip:
  video = reader.read_video(file.video)
  steps = np.diff(video.times)
  if not len(steps):
    if fps is None:
      raise ClipError(f"{file.video}: one frame has no frame rate; pass --fps.")
  elif steps.max() > 1.5 * np.median(steps) or steps.min() < 0.5 * np.median(steps):
    raise ClipError(
      f"{file.video}: frames lie {steps.min():.3f} to {steps.max():.3f} s apart; bring"
      " it to a constant frame rate."
    )
  # Containers count in ticks: 10 fps comes back as 10.000000001.
  rate = float(fps or round(1 / float(np.mean(steps)), 4))
  return Clip(file.name, video.frames, rate, _read_sound(file.video), False, {})


def _read_sound(path: pathlib.Path) -> np.ndarray | None:
  try:
    return reader.read_audio(path, SAMPLE_RATE)
  except MediaError as error:
    if "no sound" in str(error):
      return None
    raise


def _check_durations(clip: Clip) -> None:
  picture, sound = len(clip.frames) / clip.fps, len(clip.audio) / SAMPLE_RATE
  if abs(sound - picture) > max(_MOST_SECONDS_APART, _MOST_SHARE_APART * picture):
    num = len(clip.frames)
    rate = round(num / max(sound, 1e-3))
    raise ClipError(
      f"{clip.name}: {num} frames at {clip.fps:g} fps last {picture:.2f} s, the sound"
      f" {sound:.2f} s; pass --fps={rate} if the tag is wrong, or cut the sound."
    )


def _cut(clip: Clip, num_frames: int) -> Clip:
  if len(clip.frames) < num_frames:
    raise ClipError(f"{clip.name}: {len(clip.frames)} frames, {num_frames} are needed.")
  truth = dict(clip.truth)
  for key in ("joints2d", "part_map"):
    if key in truth:
      truth[key] = truth[key][:num_frames]
  return dataclasses.replace(clip, frames=clip.frames[:num_frames], truth=truth)


def _resize(clip: Clip, size: int) -> Clip:
  frames, transform = framing.letterbox(clip.frames, size)
  truth = dict(clip.truth)
  truth.pop("part_map", None)  # a mask of another size would need a rule of its own
  if "joints2d" in truth:
    truth["joints2d"] = transform(truth["joints2d"])
  return dataclasses.replace(clip, frames=frames, truth=truth)


def write_arrays(path: pathlib.Path, arrays: Mapping[str, Any]) -> None:
  """Writes an npz in one move."""
  with files.whole_file(path) as file:
    np.savez_compressed(file, **arrays)


def after_coding(clip: Clip) -> Clip:
  """The clip as a player of its mp4 sees it: what coding alone costs. Sound stays."""
  _, height, width, _ = clip.frames.shape
  with tempfile.TemporaryDirectory(prefix="dabfusion-") as folder:
    path = pathlib.Path(folder) / "clip.mp4"
    path.write_bytes(encode_mp4(clip.frames, clip.fps, None))
    frames = reader.read_video(path).frames[:, :height, :width]
  return dataclasses.replace(clip, frames=frames, lossless=False)


def encode_mp4(
  frames: UInt8[np.ndarray, "t h w 3"],
  fps: float | int,
  audio: Float32[np.ndarray, "s"] | None,
) -> bytes:
  """A clip as browsers play it. Odd sides are extended by a pixel."""
  rows, columns = (n % 2 for n in frames.shape[1:3])
  frames = np.pad(frames, ((0, 0), (0, rows), (0, columns), (0, 0)), mode="edge")
  rate = Fraction(fps).limit_denominator(1001)
  with tempfile.TemporaryDirectory(prefix="dabfusion-") as folder:
    path = pathlib.Path(folder) / "clip.mp4"
    writer.write_video(path, frames, rate, audio, SAMPLE_RATE)
    return path.read_bytes()
