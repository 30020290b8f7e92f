"""Writes video and pictures."""

import pathlib
from fractions import Fraction

import av
import numpy as np
import PIL.Image
from etils.epath import PathLike
from jaxtyping import Float32, UInt8

from data_pipeline import files
from data_pipeline.media.errors import MediaError


def _encode_audio(
  container: av.container.OutputContainer,
  stream: av.audio.stream.AudioStream,
  audio: Float32[np.ndarray, "s channels"],
  sample_rate: int,
) -> None:
  """Encodes sound; the container records the encoder's delay by itself."""
  layout = "stereo" if audio.shape[1] == 2 else "mono"
  block = stream.codec_context.frame_size or 1024
  for begin in range(0, len(audio), block):
    samples = np.ascontiguousarray(audio[begin : begin + block].T, np.float32)
    frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=layout)
    frame.sample_rate, frame.pts = sample_rate, begin
    frame.time_base = Fraction(1, sample_rate)
    container.mux(stream.encode(frame))
  container.mux(stream.encode(None))


def write_video(
  path: PathLike,
  frames: UInt8[np.ndarray, "n h w 3"],
  fps: int | Fraction,
  audio: Float32[np.ndarray, "s"] | Float32[np.ndarray, "s 2"] | None,
  sample_rate: int,
  crf: int = 18,
) -> None:
  """Writes an mp4 (h264 yuv420p, AAC) that any browser plays, whole or not at all.

  Args:
    path: ends in `.mp4`; its folder must exist.
    frames: at least one; height and width are even, as the pixel format requires.
    fps: frames per second, exact for film (`Fraction(60000, 1001)`).
    audio: in [-1, 1], from the first frame on; None for a silent video.
    sample_rate: of the audio, in samples per second.
    crf: quality, 0 (lossless) to 51; at 18 no loss is visible.

  Raises:
    MediaError: the size is odd, there are no frames, the sound contains NaN, or the
      folder does not exist.
  """
  path = pathlib.Path(path)
  num, height, width, _ = frames.shape
  if not num:
    raise MediaError(f"{path}: there are no frames to write.")
  if height % 2 or width % 2:
    raise MediaError(
      f"{path}: {width}x{height} pixels cannot be written as h264; "
      "both sides must be even."
    )
  if path.suffix.lower() != ".mp4" or not path.parent.is_dir():
    raise MediaError(f"{path}: the name must end in .mp4 and its folder must exist.")
  if audio is not None:
    audio = audio.reshape(len(audio), -1)
    if not np.isfinite(audio).all():
      raise MediaError(f"{path}: the sound to write contains NaN or infinity.")
  with files.whole_file(path) as temporary:
    with av.open(str(temporary), "w", options={"movflags": "+faststart"}) as container:
      video = container.add_stream("libx264", rate=fps, options={"crf": str(crf)})
      video.width, video.height, video.pix_fmt = width, height, "yuv420p"
      # For small videos one thread is as fast, and builds run one process per core.
      video.codec_context.thread_count = 1
      # Name the matrix that the converter uses: players would guess it by the size.
      video.codec_context.colorspace = av.video.reformatter.Colorspace.ITU601
      video.codec_context.color_range = av.video.reformatter.ColorRange.MPEG
      sound = None
      if audio is not None:
        layout = "stereo" if audio.shape[1] == 2 else "mono"
        sound = container.add_stream("aac", rate=sample_rate, layout=layout)
        sound.bit_rate = 192_000
      for image in frames:
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        container.mux(video.encode(frame))
      container.mux(video.encode(None))
      if sound is not None:
        _encode_audio(container, sound, np.clip(audio, -1.0, 1.0), sample_rate)


def write_image(path: PathLike, image: UInt8[np.ndarray, "h w 3"]) -> None:
  """Writes a picture in the format of the path's suffix, whole or not at all."""
  with files.whole_file(path) as file:
    PIL.Image.fromarray(image).save(file)
