"""Provides made-up clip records and a source; worker processes import this file."""

import dataclasses
import os
import pathlib
import time

import numpy as np

from data_pipeline.media import writer
from data_pipeline.sources.base import SourceVideo, Survey, VideoFile

RATE = 22050


def make_record(seed=0, truth=True, num_frames=6, size=16):
  """Returns a random clip record, with or without truth."""
  rng = np.random.default_rng(seed)
  record = {
    "name": f"clip{seed}",
    "window": 0,
    "genre": "BR",
    "track": "mBR0",
    "dancer": "",
    "camera": "c01",
    "start_seconds": 0.25,
    "fps": 10.0,
    "frames": rng.integers(0, 256, (num_frames, size, size, 3), np.uint8),
    "audio": rng.integers(-900, 900, 500).astype(np.int16),
    "sample_rate": 22050,
    "music": rng.standard_normal(8).astype(np.float32),
    "beat_times": np.arange(seed % 3 + 1) * 0.5 - 0.1,
  }
  if truth:
    record |= {
      "true_beat_times": np.arange(2) * 0.5,
      "joints2d": rng.random((num_frames, 17, 2), np.float32),
      "joints3d": rng.random((num_frames, 17, 3), np.float32),
      "part_map": rng.integers(0, 20, (num_frames, size, size), np.uint8),
      "part_pose": rng.random((num_frames, 5, 6), np.float32),
    }
  return record


def assert_same(actual, expected):
  """Asserts that two records have equal keys, types and values."""
  assert actual.keys() == expected.keys()
  for key, value in expected.items():
    np.testing.assert_array_equal(actual[key], value, err_msg=key)
    assert type(actual[key]) is type(value), key
    assert getattr(actual[key], "dtype", None) == getattr(value, "dtype", None), key


@dataclasses.dataclass(frozen=True)
class ToySource:
  """Small grey videos whose level gives the frame index, with clicks for music.

  Attributes:
    count: number of videos; the last one is the test set.
    log: path of a folder that records which process made which video, or None.
    bad: index of a file that is not a video.
    short: index of a video of half a second.
    deadly: index of a video that crashes the process that reads it.
  """

  count: int = 3
  log: str | None = None
  bad: int | None = None
  short: int | None = None
  deadly: int | None = None
  name: str = "toy"
  finds_shots: bool = False

  def description(self):
    return {"name": self.name, "count": self.count, "short": self.short}

  def survey(self):
    videos = [
      SourceVideo(
        name=f"toy{i}",
        split="test" if i == self.count - 1 else "train",
        song="clicks",
        song_start_seconds=0.1 * i,
        genre="BR",
        camera="c01",
      )
      for i in range(self.count)
    ]
    return Survey(videos, {"clicks": ()})

  def song_audio(self, song, files):
    assert song == "clicks"
    return click_song(), RATE

  def video_file(self, video, folder):
    name = video.name
    number = int(name.removeprefix("toy"))
    path = folder / f"{name}.mp4"
    if self.log is not None:
      (pathlib.Path(self.log) / f"{name}.{os.getpid()}").touch()
      time.sleep(0.3)
    if number == self.deadly:
      os._exit(3)
    if number == self.bad:
      path.write_text("not a video at all")
      return VideoFile(path)
    frames = toy_frames(20 if number != self.short else 5)
    start = round(0.1 * number * RATE)
    audio = click_song()[start : start + len(frames) * RATE // 10]
    writer.write_video(path, frames, 10, audio, RATE)
    return VideoFile(path)


def click_song(seconds=8):
  """Returns clicks every half second from 0.25 s on, over a noise floor."""
  audio = 1e-3 * np.random.default_rng(0).standard_normal(seconds * RATE)
  decay = np.exp(-np.arange(400) / 80) * np.sin(0.3 * np.arange(400))
  for beat in np.arange(0.25, seconds - 0.1, 0.5):
    start = round(beat * RATE)
    audio[start : start + 400] += 0.9 * decay
  return audio.astype(np.float32)


def toy_frames(num):
  """Returns frames; frame i is grey 40 + 8 i."""
  level = 40 + 8 * np.arange(num, dtype=np.uint8)
  return np.broadcast_to(level[:, None, None, None], (num, 18, 32, 3)).copy()
