"""Writes videos as users may supply them: unusual, broken, or malicious."""

import struct
from fractions import Fraction

import av
import numpy as np
from clip_examples import RATE, click_song, toy_frames

from data_pipeline.media import writer

_1 = 2**16  # in the fixed point of mp4


def encode(
  path, frames, *, pts=None, codec="libx264", pix_fmt="yuv420p", audio=None, layout=None
):
  """Writes videos that `write_video` would not; `pts` are in milliseconds."""
  with av.open(str(path), "w") as container:
    stream = container.add_stream(codec, rate=10)
    stream.height, stream.width = frames[0].shape[:2]
    stream.pix_fmt = pix_fmt
    stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
    sound = None
    if audio is not None:
      sound = container.add_stream("aac", rate=RATE, layout=layout)
    for i, image in enumerate(frames):
      frame = av.VideoFrame.from_ndarray(image, format="rgb24")
      frame.pts = 100 * i if pts is None else pts[i]
      frame.time_base = Fraction(1, 1000)
      container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
    if sound is not None:
      channels = sound.codec_context.layout.nb_channels
      for begin in range(0, len(audio), 1024):
        block = np.tile(audio[begin : begin + 1024], (channels, 1))
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
        frame.sample_rate, frame.pts = RATE, begin
        frame.time_base = Fraction(1, RATE)
        container.mux(sound.encode(frame))
      container.mux(sound.encode(None))
  return path


def make(kind, folder):
  """Writes one file of a kind, 2 s long if possible, and returns its path."""
  path = folder / f"{kind}.mp4"
  frames, audio = toy_frames(20), click_song()[: 2 * RATE]
  if kind == "empty":
    path.write_bytes(b"")
  elif kind == "text":
    path.write_text("#!/bin/sh\necho no video\n")
  elif kind == "playlist":
    path.write_text("#EXTM3U\n#EXTINF:2,\n/etc/hostname\n")
  elif kind == "sound_only":
    writer.write_video(folder / "with.mp4", frames, 10, audio, RATE)
    with av.open(str(path), "w") as out:
      stream = out.add_stream("aac", rate=RATE, layout="mono")
      frame = av.AudioFrame.from_ndarray(audio[None, :1024], "fltp", "mono")
      frame.sample_rate, frame.pts = RATE, 0
      out.mux([*stream.encode(frame), *stream.encode(None)])
  elif kind == "no_sound":
    writer.write_video(path, frames, 10, None, RATE)
  elif kind == "one_frame":
    writer.write_video(path, frames[:1], 10, audio, RATE)
  elif kind == "three_hours":
    pts = np.linspace(0, 3 * 3600 * 1000, 20).astype(int).tolist()
    encode(path, frames, pts=pts, audio=audio, layout="mono")
  elif kind == "huge":
    path = path.with_suffix(".mkv")
    encode(path, [np.zeros((3000, 4096, 3), np.uint8)] * 2, codec="mjpeg",
           pix_fmt="yuvj420p", audio=audio, layout="mono")  # fmt: skip
  elif kind == "tiny":
    encode(path, [f[:8, :8] for f in frames], audio=audio, layout="mono")
  elif kind == "variable_rate":
    pts = (np.cumsum(np.random.default_rng(0).integers(20, 200, 20)) + 700).tolist()
    audio = click_song()[: 4 * RATE]
    encode(path, frames, pts=pts, audio=audio, layout="mono")
  elif kind == "ten_bit":
    encode(path, frames, pix_fmt="yuv420p10le", audio=audio, layout="mono")
  elif kind == "surround":
    encode(path, frames, audio=audio, layout="5.1")
  elif kind == "rotated":  # as by a phone held upright, with the sensor's left up
    frames[:, :, :16] = 255
    writer.write_video(path, frames, 10, audio, RATE)
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 44  # of the first track, which is the video
    data[matrix : matrix + 36] = struct.pack(">9i", 0, _1, 0, -_1, 0, 0, 0, 0, 2**30)
    path.write_bytes(data)
  elif kind == "old_container":
    path = path.with_suffix(".avi")
    encode(path, frames, codec="mpeg4", audio=audio, layout="stereo")
  elif kind == "flash":
    path = path.with_suffix(".flv")
    encode(path, frames, audio=audio, layout="stereo")
  else:
    writer.write_video(path, frames, 10, audio, RATE)
    if kind == "truncated":
      path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif kind.startswith("noise"):
      data = bytearray(path.read_bytes())
      rng = np.random.default_rng(int(kind[5:]))
      for place in rng.integers(0, len(data), 1 + int(rng.integers(8))):
        data[place] = rng.integers(256)
      path.write_bytes(data)
  return path
