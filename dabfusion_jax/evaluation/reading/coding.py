"""Clips coded as video, as browsers play them and as other systems publish theirs."""

import dataclasses
import pathlib
import tempfile
from fractions import Fraction

import numpy as np
from jaxtyping import Float32, UInt8

from dabfusion_jax.evaluation.reading.clips import SAMPLE_RATE, Clip
from data_pipeline.media import reader, writer


def after_coding(clip: Clip) -> Clip:
  """Returns the clip with frames coded as mp4 and decoded again; sound is kept."""
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
  """Codes a clip as mp4, as browsers play it; odd sides are extended by a pixel."""
  rows, columns = (n % 2 for n in frames.shape[1:3])
  frames = np.pad(frames, ((0, 0), (0, rows), (0, columns), (0, 0)), mode="edge")
  rate = Fraction(fps).limit_denominator(1001)
  with tempfile.TemporaryDirectory(prefix="dabfusion-") as folder:
    path = pathlib.Path(folder) / "clip.mp4"
    writer.write_video(path, frames, rate, audio, SAMPLE_RATE)
    return path.read_bytes()
