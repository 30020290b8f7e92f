"""Writes video and pictures, whole or not at all.

A video is written as its frames are made: none of them is held.
"""

import contextlib
import dataclasses
import io
import pathlib
from collections.abc import Iterator, Mapping
from fractions import Fraction

import av
import numpy as np
import PIL.Image
from etils.epath import PathLike
from jaxtyping import Float32, UInt8

from data_pipeline import files
from data_pipeline.media.errors import MediaError
from data_pipeline.media.gif import GifWriter


@dataclasses.dataclass(frozen=True)
class _Format:
  """A container and its codecs.

  Attributes:
    video, audio: names of the encoders.
    crf_offset: of the video encoder's scale of quality over that of h264.
    audio_rate: the only one the encoder takes; None: any.
    video_options, container_options: of the encoder and the container.
  """

  video: str
  audio: str
  crf_offset: int
  audio_rate: int | None
  video_options: Mapping[str, str]
  container_options: Mapping[str, str]


# Without `bitexact`, a webm has a random number in it. With its macroblock tree, x264
# reads memory beside the pictures at most widths: equal frames give unequal files.
_FORMATS = {
  ".mp4": _Format(
    "libx264",
    "aac",
    0,
    None,
    {"x264-params": "mbtree=0"},
    {"movflags": "+faststart"},
  ),
  ".webm": _Format(
    "libvpx-vp9",
    "libopus",
    6,
    48_000,
    {"b": "0", "deadline": "good", "cpu-used": "4"},
    {"fflags": "+bitexact"},
  ),
}
SUFFIXES = (*_FORMATS, ".gif")  # of what can be written


class VideoWriter:
  """Writes frames and sound as they come; see `open_video`."""

  def __init__(
    self,
    path: pathlib.Path,
    file: pathlib.Path,
    fps: int | Fraction,
    sample_rate: int,
    crf: int,
    comment: str,
  ) -> None:
    self.num_frames = 0
    self._path, self._fps, self._rate = path, fps, sample_rate
    self._format = _FORMATS[path.suffix.lower()]
    self._crf = crf + self._format.crf_offset
    options = dict(self._format.container_options)
    self._container = av.open(str(file), "w", options=options)
    if comment:
      self._container.metadata["comment"] = comment
    self._video: av.video.stream.VideoStream | None = None
    self._sound: av.audio.stream.AudioStream | None = None
    self._num_samples = 0

  def write(
    self,
    frames: UInt8[np.ndarray, "n h w 3"],
    audio: Float32[np.ndarray, "s"] | Float32[np.ndarray, "s 2"] | None,
  ) -> None:
    """Writes frames and the sound beside them.

    Args:
      frames: at least one, of the same size in every call.
      audio: in [-1, 1]; either always given or never.

    Raises:
      MediaError: the size is odd, or the sound contains NaN.
    """
    if audio is not None:
      audio = audio.reshape(len(audio), -1)
      if not np.isfinite(audio).all():
        raise MediaError(f"{self._path}: the sound to write contains NaN or infinity.")
    if self._video is None:
      self._open_streams(frames.shape[1:3], None if audio is None else audio.shape[1])
    for image in frames:
      frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
      self._container.mux(self._video.encode(frame))
      self.num_frames += 1
    if audio is not None and len(audio):
      self._encode_sound(np.clip(audio, -1.0, 1.0))

  def finish(self) -> None:
    """Writes the end of the file; the container records the encoder's delay itself."""
    for stream in filter(None, (self._video, self._sound)):
      self._container.mux(stream.encode(None))
    self._container.close()

  def close(self) -> None:
    """Closes the file, finished or not."""
    self._container.close()

  def _open_streams(self, size: tuple[int, int], channels: int | None) -> None:
    height, width = size
    if height % 2 or width % 2:
      raise MediaError(
        f"{self._path}: {width}x{height} pixels cannot be written as video; "
        "both sides must be even."
      )
    options = {"crf": str(self._crf), **self._format.video_options}
    video = self._container.add_stream(
      self._format.video, rate=self._fps, options=options
    )
    video.width, video.height, video.pix_fmt = width, height, "yuv420p"
    # For small videos one thread is as fast, and builds run one process per core.
    video.codec_context.thread_count = 1
    # Name the matrix that the converter uses: players would guess it by the size.
    video.codec_context.colorspace = av.video.reformatter.Colorspace.ITU601
    video.codec_context.color_range = av.video.reformatter.ColorRange.MPEG
    self._video = video
    if channels is not None:
      self._layout = "stereo" if channels == 2 else "mono"
      self._sound = self._container.add_stream(
        self._format.audio,
        rate=self._format.audio_rate or self._rate,
        layout=self._layout,
      )
      self._sound.bit_rate = 192_000

  def _encode_sound(self, audio: Float32[np.ndarray, "s channels"]) -> None:
    samples = np.ascontiguousarray(audio.T, np.float32)
    frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=self._layout)
    frame.sample_rate, frame.pts = self._rate, self._num_samples
    frame.time_base = Fraction(1, self._rate)
    self._num_samples += len(audio)
    self._container.mux(self._sound.encode(frame))


@contextlib.contextmanager
def open_video(
  path: PathLike,
  fps: int | Fraction,
  sample_rate: int,
  crf: int = 18,
  comment: str = "",
) -> Iterator[VideoWriter | GifWriter]:
  """Opens a video that any browser plays; it stands at `path` after the block.

  An mp4 is h264 (yuv420p) and AAC, a webm VP9 and Opus, and a gif has no sound.

  Args:
    path: ends in one of `SUFFIXES`; its folder must exist.
    fps: frames per second, exact for film (`Fraction(60000, 1001)`).
    sample_rate: of the sound, in samples per second.
    crf: quality of h264, 0 (lossless) to 51; at 18 no loss is visible. That of a webm
      is like it; a gif has none.
    comment: text to keep in the file.

  Yields:
    What writes the frames.

  Raises:
    MediaError: another ending, no such folder, or no frames were written.
  """
  path = pathlib.Path(path)
  if path.suffix.lower() not in SUFFIXES or not path.parent.is_dir():
    raise MediaError(
      f"{path}: the name must end in {', '.join(SUFFIXES)}, and its folder must exist."
    )
  with files.whole_file(path) as temporary:
    if path.suffix.lower() == ".gif":
      writer = GifWriter(temporary, fps, comment)
    else:
      writer = VideoWriter(path, temporary, fps, sample_rate, crf, comment)
    with contextlib.closing(writer):
      yield writer
      if not writer.num_frames:
        raise MediaError(f"{path}: there are no frames to write.")
      writer.finish()


def write_video(
  path: PathLike,
  frames: UInt8[np.ndarray, "n h w 3"],
  fps: int | Fraction,
  audio: Float32[np.ndarray, "s"] | Float32[np.ndarray, "s 2"] | None,
  sample_rate: int,
  crf: int = 18,
) -> None:
  """Writes all frames of a video; see `open_video` and `VideoWriter.write`."""
  with open_video(path, fps, sample_rate, crf) as video:
    video.write(frames, audio)


def write_image(path: PathLike, image: UInt8[np.ndarray, "h w 3"]) -> None:
  """Writes a picture in the format of the path's suffix, whole or not at all."""
  # In memory first: Pillow takes a JPEG that a full disk cuts off for whole.
  coded = io.BytesIO()
  suffix = pathlib.Path(path).suffix.lower()
  kind = PIL.Image.registered_extensions()[suffix]
  PIL.Image.fromarray(image).save(coded, kind, quality=95)  # if it loses anything
  with files.whole_file(path) as file:
    file.write_bytes(coded.getvalue())
