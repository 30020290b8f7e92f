"""One ingest for every source: a video file becomes clip records.

Decode, take the frames nearest to the clip's moments, frame them to a square, cut the
sound to the same window, encode the music, bring the truth (if any) along in time and
space.
"""

import dataclasses
import hashlib
import pathlib
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float64

from data_pipeline import clip_record, media
from data_pipeline.beats import slice_beats
from data_pipeline.framing import FRAMINGS, nearest_frames, resample_times
from data_pipeline.music_encoders import MusicEncoder
from data_pipeline.sources import SourceVideo
from data_pipeline.synthdance.truth import Truth

SAMPLE_RATE = 22_050  # of the sound kept in a record


@dataclasses.dataclass(frozen=True)
class ClipFormat:
  """What every clip of a data set has in common.

  Attributes:
    num_frames, fps: the window; 40 frames at 10 a second are 4.000 s.
    frame_size: pixels, square.
    framing: `letterbox` or `crop`.
  """

  num_frames: int = 40
  fps: int = 10
  frame_size: int = 128
  framing: str = "letterbox"

  def __post_init__(self) -> None:
    if min(self.num_frames, self.fps) < 1 or self.frame_size < media.MIN_IMAGE_SIZE:
      raise ValueError(
        f"{self.num_frames} frames of {self.frame_size} pixels at {self.fps} fps are "
        f"no clip; at least 1, {media.MIN_IMAGE_SIZE} and 1 are needed."
      )
    if self.framing not in FRAMINGS:
      raise ValueError(
        f"Unknown framing {self.framing!r}; known: {', '.join(FRAMINGS)}."
      )

  @property
  def seconds(self) -> float:
    return self.num_frames / self.fps


def window_starts(
  name: str, video_times: Float64[np.ndarray, "m"], form: ClipFormat, num_windows: int
) -> Float64[np.ndarray, "k"]:
  """Where the windows of a video begin: at random places, by the name alone.

  Windows that began on the beat grid would tell the beats without listening. With
  several, each starts in a part of its own. Milliseconds, ascending; none if the video
  is too short.
  """
  frame_seconds = (
    float(np.median(np.diff(video_times))) if len(video_times) > 1 else 0.0
  )
  spare = float(video_times[-1]) - (form.num_frames - 1) / form.fps
  if spare < -0.5 * frame_seconds - 1e-6:
    return np.zeros(0)
  rng = np.random.default_rng(zlib.crc32(f"window|{name}".encode()))
  places = (np.arange(num_windows) + rng.random(num_windows)) / num_windows
  return np.floor(places * max(spare, 0.0) * 1000) / 1000


def records_of(
  video: SourceVideo,
  path: pathlib.Path,
  truth: Truth | None,
  song_beats: Float64[np.ndarray, "n"],
  form: ClipFormat,
  encoder: MusicEncoder,
  num_windows: int,
) -> Iterator[dict[str, Any]]:
  """Cuts the windows of one video.

  Args:
    video: whose windows.
    path: its file.
    truth: of every frame of the file, for generated videos.
    song_beats: of the whole song, seconds from its start.
    form: what clips look like.
    encoder: of the music.
    num_windows: how many; none come of a video that is too short.

  Yields:
    Records (`clip_record`).

  Raises:
    MediaError: the file cannot be used.
  """
  times = media.frame_times(path)
  if truth is not None and len(truth.joints2d) != len(times):
    raise media.MediaError(
      f"{path}: {len(times)} frames, but truth of {len(truth.joints2d)}; "
      "write the clip again."
    )
  starts = window_starts(video.name, times, form, num_windows)
  if not len(starts):
    return
  audio = media.read_audio(path, SAMPLE_RATE)
  moments = [resample_times(form.num_frames, form.fps, start) for start in starts]
  chosen = [nearest_frames(times, wanted) for wanted in moments]
  # Film is large: each frame wanted is framed at once, and decoded once.
  wanted = np.unique(np.concatenate(chosen))
  framed, transform = [], None
  for image in media.read_frames(path, wanted):
    frame, transform = FRAMINGS[form.framing](image[None], form.frame_size)
    framed.append(frame[0])
  framed = np.stack(framed)
  num_samples = round(form.seconds * SAMPLE_RATE)
  for window, (start, frames) in enumerate(zip(starts, chosen, strict=True)):
    begin = round(start * SAMPLE_RATE)
    sound = audio[begin : begin + num_samples]
    sound = np.pad(sound, (0, num_samples - len(sound)))
    record = {
      "name": video.name,
      "window": window,
      "genre": video.genre,
      "track": video.track,
      "dancer": video.dancer,
      "camera": video.camera,
      "start_seconds": float(start),
      "fps": float(form.fps),
      "frames": framed[np.searchsorted(wanted, frames)],
      "audio": np.round(sound * 32767).astype(np.int16),
      "sample_rate": SAMPLE_RATE,
      "music": encoder(sound, SAMPLE_RATE),
      "beat_times": slice_beats(
        song_beats, video.song_start_seconds + start, form.seconds
      ),
    }
    if truth is not None:
      record |= _truth_of(truth, frames, transform, start, form)
    yield record


def _truth_of(truth: Truth, frames, transform, start, form) -> dict[str, Any]:
  cut = dataclasses.replace(
    truth,
    joints2d=truth.joints2d[frames],
    joints3d=truth.joints3d[frames],
    planted=truth.planted[frames],
    part_map=truth.part_map[frames],
    part_pose=truth.part_pose[frames],
  ).transformed(transform, form.frame_size)
  return {
    "true_beat_times": slice_beats(truth.beats, float(start), form.seconds),
    "joints2d": cut.joints2d,
    "joints3d": cut.joints3d,
    "part_map": cut.part_map,
    "part_pose": cut.part_pose,
  }


def content_digest(record: Mapping[str, Any]) -> str:
  """What pictures, sound and beats of a record are, whatever the codec's version."""
  digest = hashlib.sha256()
  for key in ("frames", "audio", "beat_times", "true_beat_times"):
    if key in record:
      digest.update(np.ascontiguousarray(record[key]).tobytes())
  return digest.hexdigest()


def save_result(path: pathlib.Path, record: Mapping[str, Any]) -> None:
  """Writes an encoded record, whole or not at all."""
  temporary = path.with_name(f".{path.name}.part")
  with open(temporary, "wb") as file:
    np.savez(file, digest=content_digest(record), **clip_record.encode(record))
  temporary.replace(path)


def load_result(path: pathlib.Path) -> dict[str, Any]:
  """The encoded record that `save_result` wrote, with its `digest`."""
  with np.load(path, allow_pickle=False) as arrays:
    return {
      key: value.item() if value.ndim == 0 else value for key, value in arrays.items()
    }
