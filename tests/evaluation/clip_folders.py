"""Folders of small made-up clips for tests of the evaluation."""

import numpy as np

from dabfusion_jax.evaluation.reading import clips
from data_pipeline.media import writer

RATE = 22_050
FPS = 10
BPM = {"mBR0": 80, "mPO1": 90, "mLO2": 100, "mMH3": 110}


def name_of(index, camera=1):
  track = list(BPM)[index % len(BPM)]
  genre = track[1:3]
  return f"g{genre}_sBM_c0{camera}_d0{index % 3 + 1}_{track}_ch0{index + 1}"


def make_frames(index, num_frames=24, size=32, stride=0.75):
  """A square that stops once a beat of 0.75 s, on a still grey picture."""
  rng = np.random.default_rng(index)
  frames = np.full((num_frames, size, size, 3), 90, np.uint8)
  frames += rng.integers(0, 9, (1, size, size, 1), np.uint8)
  times = np.arange(num_frames) / FPS
  x = np.cumsum(1 + np.sin(2 * np.pi * times / stride)) * 0.6
  for frame, place in zip(frames, x, strict=True):
    left = int(place) % (size - 8)
    frame[10:20, left : left + 6] = (200, 60, 40 + index)
  return frames


def clicks(seconds, period):
  audio = np.zeros(int(seconds * RATE), np.float32)
  for time in np.arange(0.1, seconds, period):
    first = int(time * RATE)
    tone = np.sin(np.arange(600) * 0.4) * np.exp(-np.arange(600) / 100)
    audio[first : first + 600] = tone[: len(audio) - first]
  return audio


def write_folder(folder, count=8, *, noise=0, num_frames=24, size=32, truth=True):
  """Npz clips with sound, beats, joints and masks; `noise` in grey levels."""
  folder.mkdir(parents=True, exist_ok=True)
  for i in range(count):
    rng = np.random.default_rng(1000 + i)
    frames = make_frames(i, num_frames, size)
    if noise:
      change = rng.integers(-noise, noise + 1, frames.shape)
      frames = np.uint8(np.clip(frames.astype(int) + change, 0, 255))
    arrays = {"frames": frames, "fps": FPS}
    if truth:
      period = 60 / list(BPM.values())[i % len(BPM)]
      beats = np.arange(-1, num_frames / FPS / period + 2) * period + 0.1
      mask = np.zeros(frames.shape[:3], np.uint8)
      mask[:, 10:20, :] = 1
      joints = np.cumsum(rng.normal(size=(num_frames, 17, 2)), axis=0)
      arrays |= {
        "audio": np.int16(clicks(num_frames / FPS, period) * 9000),
        "sample_rate": RATE,
        "beat_times": beats,
        "joints2d": joints.astype(np.float32),
        "part_map": mask,
      }
    clips.write_arrays(folder / f"{name_of(i)}.npz", arrays)
  return folder


def write_mp4(path, frames, audio, fps=FPS):
  path.parent.mkdir(parents=True, exist_ok=True)
  writer.write_video(path, frames, fps, audio, RATE)
