"""A model without networks, so that the web app can be tested in seconds."""

import types

import numpy as np

from dabfusion_jax.inference.dance import SAMPLE_RATE, DanceStream
from dabfusion_jax.inference.dance_files import Part
from dabfusion_jax.inference.inputs import frame_image, read_picture
from dabfusion_jax.pipeline import DancePipeline

STEPS = 4


class Stub(DancePipeline):
  """A pipeline without networks, whose steps a test can look into."""

  def __init__(self):
    object.__setattr__(self, "asked", [])
    object.__setattr__(self, "at_step", lambda step: None)

  fps, frame_size = 10.0, 64
  settings = types.SimpleNamespace(
    sampling=types.SimpleNamespace(num_inference_steps=STEPS),
    data=types.SimpleNamespace(num_frames=20),
  )

  def read_picture(self, image, asked):
    read_picture(image)
    return None, frame_image(image, "letterbox", 64, True), ("A note.",)

  def stream(self, image, music, *, callback, duration, **options):
    self.asked.append(options)
    num_frames = round(10 * duration)
    settings = {"image": str(image), "music": str(music), "beat_times": [0.5]}
    settings["checkpoint"] = "/srv/runs/dance"
    total = 3 * num_frames  # drawn at three times the motion's rate
    settings["total_frames"] = total
    still = np.zeros((64, 64, 3), np.uint8)
    notes = ("A note.", f"{music}: its channels cancel each other.")
    parts = self._parts(num_frames, callback)
    return DanceStream(parts, total, 30.0, settings, notes, still)

  def _parts(self, num_frames, callback):
    for step in range(STEPS):
      self.at_step(step)
      callback(step + 1, STEPS)
    time = np.arange(round(num_frames / 10 * SAMPLE_RATE)) / SAMPLE_RATE
    audio = 0.2 * np.sin(2764 * time)[:, None].repeat(2, 1).astype(np.float32)
    grid = np.zeros((num_frames, 4, 4, 2), np.float32)
    frames = np.zeros((3 * num_frames, 64, 64, 3), np.uint8)
    parts = (np.split(x, 2) for x in (frames, grid, grid[..., :1], audio))
    for frames, flow, occlusion, sound in zip(*parts, strict=True):
      yield Part(frames, flow, occlusion, sound)
      self.at_step(STEPS)  # while it is drawn
