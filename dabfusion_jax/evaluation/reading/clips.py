"""Reads clips, from npz files or the videos of any system.

An npz holds `frames` uint8 [t, h, w, 3] and `fps`, and whatever is known about a real
clip: `audio` int16 [s] with `sample_rate`, `beat_times` and `true_beat_times` float64
(seconds), `joints2d` float32 [t, 17, 2] and `part_map` uint8 [t, h, w], and the name of
the `beat_tracker` if that is not librosa.
"""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Shaped, UInt8

from dabfusion_jax.evaluation.reading.clip_files import ClipError, ClipFile
from data_pipeline import files
from data_pipeline.media import framing, pcm, reader
from data_pipeline.media.errors import MediaError

SAMPLE_RATE = 22_050
TRUTH = ("beat_times", "true_beat_times", "joints2d", "part_map")
# Encoders add some hundredths of a second of sound. A wrong rate shows as more than
# that: 24 fps read as 25 are 4 % apart.
_MAX_SECONDS_APART, _MAX_SHARE_APART = 0.15, 0.01
_MAX_FRAMES_LATE = 0.5  # of a frame, for a constant rate


@dataclasses.dataclass(frozen=True)
class Clip:
  """A clip in memory."""

  name: str
  frames: UInt8[np.ndarray, "t h w 3"]
  fps: float
  audio: Float32[np.ndarray, "s"] | None  # mono at SAMPLE_RATE; None without sound
  lossless: bool  # whether the frames were never coded as video
  truth: Mapping[str, np.ndarray]  # any of `TRUTH`, and `beat_tracker`


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
    file: from `clip_files.find_clips`.
    fps: replaces a wrong frame rate.
    num_frames: number of frames to keep, from the first; sound is cut to match.
    frame_size: pixels per side to resize to (area interpolation, letterboxed).
    segment_frames: frames per segment of a chained clip, in which each segment begins
      with the last frame of the one before. The repeated frame is dropped, because it
      would count as a pause of the dance, and with it what is heard and told of that
      time, so that motion and music stay in step; this is done before cutting.

  Raises:
    ClipError: the clip is unreadable, not uint8 (NaN is named), or shorter than
      `num_frames`; its frames are unevenly spaced in time; or sound and picture have
      different lengths, which is how a wrong frame rate shows.
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
    clip = _without_seams(clip, segment_frames)
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
  except files.DAMAGED_NPZ as error:
    raise ClipError(f"{file.arrays}: damaged ({error}).") from None
  frames = arrays.get("frames")
  if frames is None or "fps" not in arrays:
    raise ClipError(f"{file.arrays} must hold `frames` and `fps`.")
  if frames.dtype != np.uint8:
    is_float = np.issubdtype(frames.dtype, np.floating)
    what = "NaN" if is_float and not np.isfinite(frames).all() else str(frames.dtype)
    raise ClipError(f"{file.arrays}: frames must be uint8, not {what}.")
  if frames.ndim != 4 or frames.shape[-1] != 3 or not len(frames):
    raise ClipError(
      f"{file.arrays}: frames have shape {frames.shape}, not [t, h, w, 3]."
    )
  fps = arrays["fps"]
  fps = float(fps) if fps.dtype.kind in "iuf" and fps.size == 1 else np.nan
  if not 0 < fps < np.inf:
    raise ClipError(f"{file.arrays}: `fps` is {fps}; it must be positive.")
  truth = {key: arrays[key] for key in TRUTH if key in arrays}
  shapes = {"joints2d": (len(frames), 17, 2), "part_map": frames.shape[:3]}
  for key, values in truth.items():
    expected = shapes.get(key, (values.size,))
    if values.shape != expected:
      raise ClipError(
        f"{file.arrays}: `{key}` has shape {values.shape}; `frames` of"
        f" {frames.shape} need {expected}."
      )
    is_number = values.dtype.kind in "iufb"
    if not (is_number and (key == "joints2d" or np.isfinite(values).all())):
      raise ClipError(f"{file.arrays}: `{key}` must hold finite numbers.")
  if "beat_tracker" in arrays:
    truth["beat_tracker"] = arrays["beat_tracker"]
    if truth["beat_tracker"].dtype.kind != "U" or truth["beat_tracker"].ndim:
      raise ClipError(f"{file.arrays}: `beat_tracker` must be a name.")
  audio = None
  if "audio" in arrays:
    sound = arrays["audio"]
    rate = arrays.get("sample_rate", np.zeros(0))
    is_rate = rate.dtype.kind in "iu" and rate.size == 1 and int(rate) > 0
    if sound.dtype != np.int16 or sound.ndim != 1 or not is_rate:
      raise ClipError(
        f"{file.arrays}: `audio` must be mono int16 [s] with `sample_rate`, not"
        f" {sound.dtype} {sound.shape}."
      )
    audio = _resample(sound, int(rate))
  elif file.video:
    audio = _read_sound(file.video)
  return Clip(file.name, frames, fps, audio, True, truth)


def _resample(audio: np.ndarray, sample_rate: int) -> np.ndarray:
  audio = pcm.int16_to_sound(audio)
  if sample_rate == SAMPLE_RATE:
    return audio
  import librosa  # slow to import, and rarely needed

  return librosa.resample(audio, orig_sr=sample_rate, target_sr=SAMPLE_RATE)


def _read_video(file: ClipFile, fps: float | int | None) -> Clip:
  video = reader.read_video(file.video)
  steps = np.diff(video.times)
  if not len(steps):
    if fps is None:
      raise ClipError(f"{file.video}: a single frame has no frame rate; pass --fps.")
  elif steps.max() > 1.5 * np.median(steps) or steps.min() < 0.5 * np.median(steps):
    raise ClipError(
      f"{file.video}: frames are {steps.min():.3f} to {steps.max():.3f} s apart;"
      " convert it to a constant frame rate."
    )
  else:
    late = video.times - np.linspace(video.times[0], video.times[-1], len(video.times))
    if np.abs(late).max() > _MAX_FRAMES_LATE * np.mean(steps):
      raise ClipError(
        f"{file.video}: its frame rate changes, by which frames are up to"
        f" {np.abs(late).max():.2f} s off; convert it to a constant frame rate."
      )
  # Containers count in ticks: 10 fps is read as 10.000000001.
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
  if abs(sound - picture) > _MAX_SECONDS_APART + _MAX_SHARE_APART * picture:
    num = len(clip.frames)
    rate = round(num / max(sound, 1e-3))
    raise ClipError(
      f"{clip.name}: {num} frames at {clip.fps:g} fps last {picture:.2f} s, the sound"
      f" {sound:.2f} s; pass --fps={rate} if the rate is wrong, or cut the sound."
    )


def _without_seams(clip: Clip, segment_frames: int) -> Clip:
  """Returns a chained clip without its repeated frames, and their time."""
  seams = np.arange(segment_frames, len(clip.frames), segment_frames)
  truth = dict(clip.truth)
  for key in {"joints2d", "part_map"} & set(truth):
    truth[key] = np.delete(truth[key], seams, axis=0)
  for key in {"beat_times", "true_beat_times"} & set(truth):
    truth[key] = without_seam_time(truth[key], segment_frames, clip.fps)
  audio = clip.audio
  if audio is not None:
    of_frame = np.floor(np.arange(len(audio)) * clip.fps / SAMPLE_RATE)
    audio = audio[~np.isin(of_frame, seams)]
  frames = np.delete(clip.frames, seams, axis=0)
  return dataclasses.replace(clip, frames=frames, audio=audio, truth=truth)


def without_seam_time(
  times: Shaped[np.ndarray, "n"], segment_frames: int, fps: float
) -> Float64[np.ndarray, "n"]:
  """Returns times [s] of a chained clip on the time line without repeated frames."""
  times = np.asarray(times, np.float64)[:, None]
  starts = np.arange(segment_frames / fps, times.max(initial=0), segment_frames / fps)
  return times[:, 0] - np.clip(times - starts, 0, 1 / fps).sum(1)


def _cut(clip: Clip, num_frames: int) -> Clip:
  if len(clip.frames) < num_frames:
    raise ClipError(f"{clip.name} has {len(clip.frames)} frames, not {num_frames}.")
  truth = dict(clip.truth)
  for key in ("joints2d", "part_map"):
    if key in truth:
      truth[key] = truth[key][:num_frames]
  return dataclasses.replace(clip, frames=clip.frames[:num_frames], truth=truth)


def _resize(clip: Clip, size: int) -> Clip:
  frames, transform = framing.letterbox(clip.frames, size)
  truth = dict(clip.truth)
  truth.pop("part_map", None)  # resizing a mask would need a rule of its own
  if "joints2d" in truth:
    truth["joints2d"] = transform(truth["joints2d"])
  return dataclasses.replace(clip, frames=frames, truth=truth)


def write_arrays(path: pathlib.Path, arrays: Mapping[str, Any]) -> None:
  """Writes a compressed npz, whole or not at all."""
  with files.whole_file(path) as file:
    np.savez_compressed(file, **arrays)


def hold_first(x: Shaped[np.ndarray, "t *rest"]) -> Shaped[np.ndarray, "t *rest"]:
  """Returns the first frame (or pose, or embedding), repeated for the whole length."""
  return np.repeat(x[:1], len(x), axis=0)


def frozen(clip: Clip) -> Clip:
  """Returns the clip with its first frame held still: the null of paired scores."""
  return dataclasses.replace(clip, frames=hold_first(clip.frames))
