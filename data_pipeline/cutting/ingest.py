"""Turns a video file into clip records, in the same way for every source.

The frames nearest to the clip's times are decoded and brought to a square, the sound is
cut to the same window, the music is encoded, and the truth (if any) is cut and scaled
likewise.
"""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8

from data_pipeline.cutting.person import crop_on_person
from data_pipeline.cutting.windows import WHOLE_TRACK, Segment, Windows, ends_of_pauses
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
from data_pipeline.media.pcm import sound_to_int16
from data_pipeline.music.beats import slice_beats
from data_pipeline.music.encoders import MusicEncoder, cut_window
from data_pipeline.records.clip_record import Record
from data_pipeline.sources.base import Joints, SourceVideo, VideoFile

SAMPLE_RATE = 22_050  # of the sound kept in a record


@dataclasses.dataclass(frozen=True)
class ClipFormat:
  """What all clips of a data set have in common.

  Attributes:
    num_frames, fps: of the window; 40 frames at 10 per second last 4.000 s.
    frame_size: height and width in pixels.
    framing: `letterbox`, `crop` (the middle) or `person` (around what moves).
  """

  num_frames: int = 40
  fps: int = 10
  frame_size: int = 128
  framing: str = "letterbox"

  def __post_init__(self) -> None:
    if min(self.num_frames, self.fps) < 1 or self.frame_size < reader.MIN_IMAGE_SIZE:
      raise UserError(
        f"{self.num_frames} frames of {self.frame_size} pixels at {self.fps} fps make "
        f"no clip; the minimum is 1 frame of {reader.MIN_IMAGE_SIZE} pixels at 1 fps."
      )
    if self.framing not in FRAMINGS:
      raise UserError(
        f"Unknown framing {self.framing!r}; known: {', '.join(FRAMINGS)}."
      )

  @property
  def seconds(self) -> float:
    """Returns the length of a clip."""
    return self.num_frames / self.fps


@dataclasses.dataclass(frozen=True)
class Cut:
  """The clips of a video, cut as they are consumed.

  Attributes:
    status: `whole`, or `too_short` if no window fits into the video.
    reason: how short the video is, or an empty string.
    records: of the windows; consuming them may raise MediaError.
  """

  status: str
  reason: str
  records: Iterator[Record]


@dataclasses.dataclass(frozen=True)
class _Window:
  """The place of a clip in its video."""

  start_seconds: float
  frames: Int64[np.ndarray, "t"]  # their indices in the video
  times: Float64[np.ndarray, "t"]  # of these frames
  beats: Float64[np.ndarray, "n"]  # of the song, from the window's start


def cut_clips(
  video: SourceVideo,
  file: VideoFile,
  song_beats: Float64[np.ndarray, "n"],
  form: ClipFormat,
  encoder: MusicEncoder,
  windows: Windows,
  segments: Sequence[Segment] = WHOLE_TRACK,
) -> Cut:
  """Cuts the clips of one video.

  Args:
    video: the entry of the source.
    file: its file.
    song_beats: of the whole song, in seconds from its start.
    form: what clips look like.
    encoder: of the music.
    windows: where clips begin.
    segments: shots; each clip lies within one.

  Raises:
    MediaError: the file cannot be used.
  """
  times = reader.frame_times(file.path)
  if file.truth is not None and len(file.truth.joints2d) != len(times):
    raise MediaError(
      f"{file.path}: it has {len(times)} frames, but truth of "
      f"{len(file.truth.joints2d)}; write the video again."
    )
  pauses = len(ends_of_pauses(times))
  if pauses:
    reader.add_note(file.path, "it has pauses, which no clip crosses.")
  starts = windows.starts(video.name, times, form.num_frames, form.fps, segments)
  if not len(starts):
    frame_seconds = float(np.median(np.diff(times))) if len(times) > 1 else 1 / form.fps
    length = f"{float(times[-1]) + frame_seconds:.2f} s"
    if len(segments) + pauses > 1:
      length = f"none of {len(segments) + pauses} shots"
    return Cut("too_short", f"{length}; a clip has {form.seconds:g} s", iter(()))
  cut = []
  for start in starts.tolist():
    frames = nearest_frames(times, resample_times(form.num_frames, form.fps, start))
    beats = slice_beats(song_beats, video.song_start_seconds + start, form.seconds)
    cut.append(_Window(start, frames, times[frames], beats))
  end = video.song_start_seconds + starts[-1] + form.seconds
  if len(song_beats) and end > song_beats[-1] + 2:  # seconds, as an ending may last
    text = f"its song has beats to {song_beats[-1]:.1f} s, a clip ends at {end:.1f} s."
    reader.add_note(file.path, text)
  return Cut("whole", "", _make_records(video, file, cut, form, encoder))


def _make_records(
  video: SourceVideo,
  file: VideoFile,
  windows: Sequence[_Window],
  form: ClipFormat,
  encoder: MusicEncoder,
) -> Iterator[Record]:
  audio, rate = _read_sound(video, file, SAMPLE_RATE), encoder.sample_rate
  sounds = _cut_sounds(audio, SAMPLE_RATE, windows, form)
  silent = sum(map(reader.is_silent, sounds))
  if silent and not reader.is_silent(audio):
    # Silence behind the end of the sound is no music to dance to.
    last, num = len(audio) / SAMPLE_RATE - form.seconds, len(windows)
    both = zip(windows, sounds, strict=True)
    windows = [w for w, s in both if w.start_seconds <= last or not reader.is_silent(s)]
    text = f"{silent} of {num} windows are silent, {num - len(windows)} left out."
    reader.add_note(file.path, text)
    if not windows:
      return
    sounds = _cut_sounds(audio, SAMPLE_RATE, windows, form)
  encoder_sounds = sounds
  if rate != SAMPLE_RATE:
    encoder_sounds = _cut_sounds(_read_sound(video, file, rate), rate, windows, form)
  music = encoder.encode_batch(encoder_sounds, rate)
  framed = _frame_windows(file.path, [window.frames for window in windows], form)
  for number, (window, (frames, transform)) in enumerate(
    zip(windows, framed, strict=True)
  ):
    if form.framing == PERSON:
      frames, transform = crop_on_person(frames, transform)
    record = {
      "name": video.name,
      "window": number,
      "genre": video.genre,
      "track": video.track,
      "dancer": video.dancer,
      "camera": video.camera,
      "start_seconds": window.start_seconds,
      "fps": float(form.fps),
      "frames": frames,
      "audio": sound_to_int16(sounds[number]),
      "sample_rate": SAMPLE_RATE,
      "music": music[number],
      "beat_times": window.beats,
    }
    yield record | _annotations(file, window, transform, form)


def _cut_sounds(
  audio: Float32[np.ndarray, "n"],
  rate: int,
  windows: Sequence[_Window],
  form: ClipFormat,
) -> list[Float32[np.ndarray, "s"]]:
  return [cut_window(audio, rate, w.start_seconds, form.seconds) for w in windows]


def _read_sound(
  video: SourceVideo, file: VideoFile, sample_rate: int
) -> Float32[np.ndarray, "s"]:
  """Returns the sound of a video, or that of its song if the video is silent."""
  audio = np.zeros(0, np.float32)
  path = file.sound or file.path
  if file.music is None or reader.has_sound(path):
    audio = reader.read_audio(path, sample_rate)
  if file.music is not None and reader.is_silent(audio):
    audio = reader.read_audio(file.music, sample_rate)
    audio = audio[round(video.song_start_seconds * sample_rate) :]
  if reader.is_silent(audio):
    reader.add_note(file.path, "nothing can be heard in it.", reader.SILENT)
  return audio


def _frame_windows(
  path: pathlib.Path, windows: Sequence[Int64[np.ndarray, "t"]], form: ClipFormat
) -> Iterator[tuple[UInt8[np.ndarray, "t h w 3"], Transform]]:
  """Yields the framed frames of each window, and the map from source pixels to theirs.

  The windows are given by frame indices, in order of their starts. A frame is decoded
  once, scaled down at once, and kept no longer than the windows need it.
  """
  frame_to_size = FRAMINGS[form.framing]
  wanted = np.unique(np.concatenate(windows))
  images = zip(wanted.tolist(), reader.read_frames(path, wanted), strict=True)
  kept, last = {}, -1
  for number, frames in enumerate(windows):
    while last < frames.max():
      last, image = next(images)
      (kept[last],), transform = frame_to_size(image[None], form.frame_size)
    yield np.stack([kept[index] for index in frames.tolist()]), transform
    if number + 1 < len(windows):
      first = windows[number + 1].min()
      kept = {index: frame for index, frame in kept.items() if index >= first}
  next(images, None)  # the notes about the video


def _annotations(
  file: VideoFile, window: _Window, transform: Transform, form: ClipFormat
) -> Record:
  """Returns what is known of a window: the truth, the annotated joints, or nothing."""
  if file.truth is not None:
    truth = file.truth.take(window.frames).transformed(transform, form.frame_size)
    beats = slice_beats(truth.beats, window.start_seconds, form.seconds)
    mesh = truth.surfaces
    surfaces = {} if mesh is None else {"surfaces": mesh.encode()}
    return surfaces | {
      "true_beat_times": beats,
      "joints2d": truth.joints2d,
      "joints3d": truth.joints3d,
      "part_map": truth.part_map,
      "part_pose": truth.part_pose,
    }
  if file.joints is not None:
    return _nearest_joints(file.joints, window.times, transform)
  return {}


def _nearest_joints(
  joints: Joints, times: Float64[np.ndarray, "t"], transform: Transform
) -> dict[str, Any]:
  """Returns the annotation nearest to each time, in pixels of the record."""
  nearest = np.floor(times * joints.fps + 0.5).astype(np.int64)
  known = (nearest < len(joints.joints2d))[:, None, None]
  nearest = np.minimum(nearest, len(joints.joints2d) - 1)
  return {
    "joints2d": np.where(known, transform(joints.joints2d[nearest]), np.float32("nan")),
    "joints3d": np.where(known, joints.joints3d[nearest], np.float32("nan")),
  }
