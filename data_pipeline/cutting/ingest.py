"""One ingest for every source: a video file becomes clip records.

Decode, take the frames nearest to the clip's moments, frame them to a square, cut the
sound to the same window, encode the music, bring the truth (if any) along in time and
space.
"""

import dataclasses
import hashlib
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8

from data_pipeline import files
from data_pipeline.cutting.person import crop_on_person
from data_pipeline.cutting.windows import SHORT, WHOLE_TRACK, Segment, Windows
from data_pipeline.errors import UserError
from data_pipeline.media import reader
from data_pipeline.media.errors import MediaError
from data_pipeline.media.framing import (
  FRAMINGS,
  PERSON,
  Transform,
  nearest_frames,
  resample_times,
)
from data_pipeline.music.beats import slice_beats
from data_pipeline.music.encoders import MusicEncoder, cut_window
from data_pipeline.sources.base import Film, Joints, SourceVideo
from data_pipeline.synthdance.truth import Truth

SAMPLE_RATE = 22_050  # of the sound kept in a record


@dataclasses.dataclass(frozen=True)
class ClipFormat:
  """What every clip of a data set has in common.

  Attributes:
    num_frames, fps: the window; 40 frames at 10 a second are 4.000 s.
    frame_size: pixels, square.
    framing: `letterbox`, `crop` (the middle) or `person` (around what moves).
    short: of a video too short for a clip: `drop` it, `pad` it with its last frame
      and silence, or `loop` it.
  """

  num_frames: int = 40
  fps: int = 10
  frame_size: int = 128
  framing: str = "letterbox"
  short: str = "drop"

  def __post_init__(self) -> None:
    if min(self.num_frames, self.fps) < 1 or self.frame_size < reader.MIN_IMAGE_SIZE:
      raise UserError(
        f"{self.num_frames} frames of {self.frame_size} pixels at {self.fps} fps are "
        f"no clip; at least 1, {reader.MIN_IMAGE_SIZE} and 1 are needed."
      )
    for word, known in ((self.framing, tuple(FRAMINGS)), (self.short, SHORT)):
      if word not in known:
        raise UserError(f"Unknown setting {word!r}; known: {', '.join(known)}.")

  @property
  def seconds(self) -> float:
    return self.num_frames / self.fps


@dataclasses.dataclass(frozen=True)
class Cut:
  """The windows of a video, cut as they are asked for.

  Attributes:
    status: `whole`, or what became of a short video: `too_short`, `padded`, `looped`.
    reason: how short it is, or an empty text.
    records: of `clip_record`; reading them may raise MediaError.
  """

  status: str
  reason: str
  records: Iterator[dict[str, Any]]


def cut_film(
  video: SourceVideo,
  film: Film,
  song_beats: Float64[np.ndarray, "n"],
  form: ClipFormat,
  encoder: MusicEncoder,
  windows: Windows,
  segments: Sequence[Segment] = WHOLE_TRACK,
) -> Cut:
  """Cuts the windows of one video.

  Args:
    video: whose windows.
    film: its file.
    song_beats: of the whole song, seconds from its start.
    form: what clips look like.
    encoder: of the music.
    windows: where they begin.
    segments: shots that a window must not leave.

  Raises:
    MediaError: the file cannot be used.
  """
  times = reader.frame_times(film.path)
  truth = film.truth
  if truth is not None and len(truth.joints2d) != len(times):
    raise MediaError(
      f"{film.path}: {len(times)} frames, but truth of {len(truth.joints2d)}; "
      "write the clip again."
    )
  starts = windows.starts(video.name, times, form.num_frames, form.fps, segments)
  status, reason, period = "whole", "", None
  if not len(starts):
    status = {"drop": "too_short", "pad": "padded", "loop": "looped"}[form.short]
    frame_seconds = float(np.median(np.diff(times))) if len(times) > 1 else 1 / form.fps
    starts, length = np.zeros(1), float(times[-1]) + frame_seconds
    what = f"{length:.2f} s" if len(segments) == 1 else f"none of {len(segments)} shots"
    reason = f"{what}; a clip has {form.seconds:g} s"
    if form.short == "drop":
      return Cut(status, reason, iter(()))
    # What repeats: the video, or a stretch so long that nothing does.
    period = length if form.short == "loop" else None
    song_beats = song_beats[song_beats < video.song_start_seconds + length]
  records = _records(
    video, film, times, song_beats, form, encoder, starts, period
  )  # fmt: skip
  return Cut(status, reason, records)


def _records(
  video: SourceVideo,
  film: Film,
  times: Float64[np.ndarray, "m"],
  song_beats: Float64[np.ndarray, "n"],
  form: ClipFormat,
  encoder: MusicEncoder,
  starts: Float64[np.ndarray, "k"],
  period: float | None,
) -> Iterator[dict[str, Any]]:
  moments = [resample_times(form.num_frames, form.fps, start) for start in starts]
  if period is not None:
    moments = [np.mod(m, period) for m in moments]
    repeats = int(form.seconds / period) + 1
    song_beats = _repeat(song_beats, video.song_start_seconds, period, repeats)
  chosen = [nearest_frames(times, wanted) for wanted in moments]

  def sounds_at(rate: int) -> list[np.ndarray]:
    audio = _sound(video, film, rate)
    if period is not None:
      audio = np.tile(audio[: round(period * rate)], repeats)
    return [cut_window(audio, rate, start, form.seconds) for start in starts]

  sounds = heard = sounds_at(SAMPLE_RATE)
  if encoder.sample_rate != SAMPLE_RATE:
    heard = sounds_at(encoder.sample_rate)
  music = encoder.encode_batch(heard, encoder.sample_rate)
  shown = _framed_windows(film.path, chosen, form)
  windows = zip(starts, chosen, shown, strict=True)
  for window, (start, frames, (pictures, place)) in enumerate(windows):
    if form.framing == PERSON:
      pictures, place = crop_on_person(pictures, place)
    record = {
      "name": video.name,
      "window": window,
      "genre": video.genre,
      "track": video.track,
      "dancer": video.dancer,
      "camera": video.camera,
      "start_seconds": float(start),
      "fps": float(form.fps),
      "frames": pictures,
      "audio": np.round(sounds[window] * 32767).astype(np.int16),
      "sample_rate": SAMPLE_RATE,
      "music": music[window],
      "beat_times": slice_beats(
        song_beats, video.song_start_seconds + start, form.seconds
      ),
    }
    if film.truth is not None:
      beats = film.truth.beats
      if period is not None:
        beats = _repeat(beats, 0.0, period, repeats)
      record["true_beat_times"] = slice_beats(beats, float(start), form.seconds)
      record |= _truth_of(film.truth, frames, place, form)
    elif film.joints is not None:
      record |= _joints_at(film.joints, times[frames], place)
    yield record


def _framed_windows(
  path: pathlib.Path, chosen: Sequence[Int64[np.ndarray, "t"]], form: ClipFormat
) -> Iterator[tuple[UInt8[np.ndarray, "t h w 3"], Transform]]:
  """The frames of windows, in order of their begin, and where source pixels went.

  Film is large: a frame is decoded once, framed at once, and kept no longer than the
  windows need it.
  """
  frame_to_size = FRAMINGS[form.framing]
  wanted = np.unique(np.concatenate(chosen))
  images = zip(wanted.tolist(), reader.read_frames(path, wanted), strict=True)
  kept, last = {}, -1
  for window, frames in enumerate(chosen):
    while last < frames.max():
      last, image = next(images)
      (kept[last],), transform = frame_to_size(image[None], form.frame_size)
    yield np.stack([kept[number] for number in frames.tolist()]), transform
    if window + 1 < len(chosen):
      first = chosen[window + 1].min()
      kept = {number: frame for number, frame in kept.items() if number >= first}


def _repeat(beats, begin: float, period: float, repeats: int) -> np.ndarray:
  """The beats of one period from `begin` on, several times over."""
  inside = beats[(beats >= begin) & (beats < begin + period)]
  return np.concatenate([inside + i * period for i in range(repeats)])


def _sound(
  video: SourceVideo, film: Film, sample_rate: int
) -> Float32[np.ndarray, "s"]:
  if film.music is None or reader.has_sound(film.path):
    return reader.read_audio(film.path, sample_rate)
  audio = reader.read_audio(film.music, sample_rate)
  return audio[round(video.song_start_seconds * sample_rate) :]


def _truth_of(
  truth: Truth, frames: Int64[np.ndarray, "t"], transform: Transform, form: ClipFormat
) -> dict[str, Any]:
  cut = dataclasses.replace(
    truth,
    joints2d=truth.joints2d[frames],
    joints3d=truth.joints3d[frames],
    planted=truth.planted[frames],
    part_map=truth.part_map[frames],
    part_pose=truth.part_pose[frames],
  ).transformed(transform, form.frame_size)
  return {
    "joints2d": cut.joints2d,
    "joints3d": cut.joints3d,
    "part_map": cut.part_map,
    "part_pose": cut.part_pose,
  }


def _joints_at(
  joints: Joints, moments: Float64[np.ndarray, "t"], transform: Transform
) -> dict[str, Any]:
  """The annotation nearest to each moment, in pixels of the record."""
  nearest = np.floor(moments * joints.fps + 0.5).astype(np.int64)
  known = nearest < len(joints.joints2d)
  nearest = np.minimum(nearest, len(joints.joints2d) - 1)
  known = known[:, None, None]
  return {
    "joints2d": np.where(known, transform(joints.joints2d[nearest]), np.float32("nan")),
    "joints3d": np.where(known, joints.joints3d[nearest], np.float32("nan")),
  }


def content_digest(record: Mapping[str, Any]) -> str:
  """What pictures, sound and beats of a record are, whatever the codec's version."""
  digest = hashlib.sha256()
  for key in ("frames", "audio", "beat_times", "true_beat_times"):
    if key in record:
      digest.update(np.ascontiguousarray(record[key]).tobytes())
  return digest.hexdigest()


def save_result(path: pathlib.Path, features: Mapping[str, Any]) -> None:
  """Writes an encoded record with its `digest`, whole or not at all."""
  with files.whole_file(path) as temporary, open(temporary, "wb") as file:
    np.savez_compressed(file, **features)


def load_result(path: pathlib.Path) -> dict[str, Any]:
  """What `save_result` wrote."""
  with np.load(path, allow_pickle=False) as arrays:
    return {
      key: value.item() if value.ndim == 0 else value for key, value in arrays.items()
    }
