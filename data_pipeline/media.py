"""Video, sound and pictures, in and out.

The only importer of the codecs (PyAV, Pillow). Whatever is wrong with a file becomes
a `MediaError` of one line. Times are seconds from the first frame of the video, so
picture and sound of one file share one clock.
"""

import dataclasses
import os
import pathlib
import tempfile
import warnings
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
import PIL.Image
import PIL.ImageOps
from jaxtyping import Float32, Float64, Int64, UInt8

# What is done to frames once they are decoded belongs to the same door.
from data_pipeline.framing import crop_square as crop_square
from data_pipeline.framing import letterbox as letterbox
from data_pipeline.framing import nearest_frames as nearest_frames
from data_pipeline.framing import resample_times as resample_times

PathLike = str | os.PathLike

# Containers read from a file that may come from anyone: no playlists, no network.
_OPEN_OPTIONS = {
  "protocol_whitelist": "file",
  "format_whitelist": (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mp3,wav,ogg,flac,aac"
  ),
}
MIN_IMAGE_SIZE = 16  # pixels; nothing can be learnt or shown from less


class MediaError(ValueError):
  """A file that cannot be used: which, why, and what to do."""


@dataclasses.dataclass(frozen=True)
class Video:
  """Decoded frames and their real time stamps, in seconds from the first frame."""

  frames: UInt8[np.ndarray, "n h w 3"]
  times: Float64[np.ndarray, "n"]


def _check_file(path: PathLike) -> pathlib.Path:
  path = pathlib.Path(path)
  if not path.is_file():
    raise MediaError(f"{path}: no such file; check the path.")
  if path.stat().st_size == 0:
    raise MediaError(f"{path}: the file is empty; copy or download it again.")
  return path


def _open(path: PathLike) -> av.container.InputContainer:
  path = _check_file(path)
  try:
    return av.open(str(path), options=_OPEN_OPTIONS)
  except (av.error.FFmpegError, ValueError, OSError) as error:
    raise MediaError(
      f"{path}: not a video or sound file that can be read "
      f"({_reason(error)}); convert it to mp4 or wav."
    ) from error


def _reason(error: BaseException) -> str:
  return str(getattr(error, "strerror", None) or error).splitlines()[0]


def _moving_picture(container: av.container.InputContainer):
  """The video stream, or None; the cover of a song is not one."""
  for stream in container.streams.video:
    if not stream.disposition & av.stream.Disposition.attached_pic:
      return stream
  return None


def _video_stream(container: av.container.InputContainer, path: PathLike):
  stream = _moving_picture(container)
  if stream is None:
    raise MediaError(f"{path}: there is no picture in this file; a video is needed.")
  return stream


# --- Video in ----------------------------------------------------------------------


def frame_times(path: PathLike) -> Float64[np.ndarray, "n"]:
  """When each frame is shown, read from the container without decoding.

  Returns:
    Seconds from the first frame, ascending.

  Raises:
    MediaError: unreadable, without a picture, or cut short.
  """
  with _open(path) as container:
    stream = _video_stream(container, path)
    expected = stream.frames
    try:
      stamps = sorted(
        packet.pts
        for packet in container.demux(stream)
        if packet.pts is not None and packet.size
      )
    except av.error.FFmpegError as error:
      raise MediaError(f"{path}: broken video ({_reason(error)}).") from error
    # The index at the head of an mp4 knows how many frames there should be. Edit
    # lists may hide a few, hence the margin.
    if not stamps or len(stamps) < expected - max(2, expected // 100):
      raise MediaError(
        f"{path}: cut short, {len(stamps)} of {expected} frames are there; copy or "
        "download it again."
      )
    times = np.asarray(stamps, np.float64) * float(stream.time_base)
  return times - times[0]


def read_frames(path: PathLike, wanted: Int64[np.ndarray, "n"]) -> Iterator[np.ndarray]:
  """Decodes a video and converts only the frames wanted to RGB.

  Args:
    path: any video.
    wanted: frame numbers, ascending; a number may repeat.

  Yields:
    uint8 [h, w, 3] for each number, upright.
  """
  remaining = iter(wanted.tolist())
  want = next(remaining, None)
  with _open(path) as container:
    stream = _video_stream(container, path)
    try:
      for index, frame in enumerate(container.decode(stream)):
        if want is None:
          return
        if index != want:
          continue
        image = frame.to_ndarray(format="rgb24")
        if frame.rotation:  # degrees counter-clockwise, as phones write it
          image = np.rot90(image, round(frame.rotation / 90) % 4)
        while want == index:
          yield image
          want = next(remaining, None)
    except av.error.FFmpegError as error:
      raise MediaError(
        f"{path}: broken video ({_reason(error)}); copy or download it again."
      ) from error
  if want is not None:
    raise MediaError(
      f"{path}: frame {want} cannot be decoded; copy or download the file again."
    )


def read_video(path: PathLike, *, max_seconds: int | float | None = None) -> Video:
  """Decodes a whole video, or its first `max_seconds`.

  Raises:
    MediaError: missing, empty, not a video, cut short.
  """
  times = frame_times(path)
  if max_seconds is not None:
    times = times[times < max_seconds]
  images = list(read_frames(path, np.arange(len(times))))
  return Video(np.stack(images), times)


# --- Sound in ----------------------------------------------------------------------


def read_audio(
  path: PathLike, sample_rate: int, *, mono: bool = True
) -> Float32[np.ndarray, "s"] | Float32[np.ndarray, "s 2"]:
  """Decodes the sound of any file, at `sample_rate`.

  Sample 0 is what sounds with the first frame of the picture (or the start of a file
  without picture): encoder delay is taken off, a late start is filled with zeros.

  Returns:
    float32 in [-1, 1], [s] or [s, 2].

  Raises:
    MediaError: missing, empty, unreadable, no sound, not a number.
  """
  with _open(path) as container:
    if not container.streams.audio:
      raise MediaError(f"{path}: there is no sound in this file; add music to it.")
    stream = container.streams.audio[0]
    # Read now: a stream of a closed container holds what it likes.
    picture = _moving_picture(container)
    origin = None
    if picture is not None and picture.start_time is not None:
      origin = float(picture.start_time * picture.time_base)
    # Mixed down here, by the mean: the resampler's own mix of two may exceed 1.
    layout = "mono" if stream.channels == 1 else "stereo"
    resampler = av.AudioResampler(format="flt", layout=layout, rate=sample_rate)
    start = None
    chunks = []
    try:
      for frame in container.decode(stream):
        if start is None:
          start = 0.0 if frame.pts is None else float(frame.pts * frame.time_base)
        chunks += [f.to_ndarray() for f in resampler.resample(frame)]
      if start is not None:
        chunks += [f.to_ndarray() for f in resampler.resample(None)]
    except (av.error.FFmpegError, ValueError) as error:
      raise MediaError(
        f"{path}: broken sound ({_reason(error)}); copy or convert it again."
      ) from error
  if not chunks:
    raise MediaError(f"{path}: there is no sound in this file; add music to it.")
  audio = np.concatenate(chunks, axis=1)
  audio = audio.reshape(-1, 1 if layout == "mono" else 2)
  if not np.isfinite(audio).all():
    raise MediaError(f"{path}: the sound holds NaN or infinity; export it again.")
  # A file of sound alone starts where its sound does, whatever its first stamp says.
  shift = 0 if origin is None else round((start - origin) * sample_rate)
  if shift > 0:
    audio = np.pad(audio, ((shift, 0), (0, 0)))
  audio = np.clip(audio[max(-shift, 0) :], -1.0, 1.0).astype(np.float32)
  return audio.mean(axis=1) if mono else np.broadcast_to(audio, (len(audio), 2)).copy()


# --- Pictures in -------------------------------------------------------------------


def read_image(path: PathLike) -> UInt8[np.ndarray, "h w 3"]:
  """Reads a picture upright (EXIF), transparency laid on white.

  Raises:
    MediaError: missing, empty, not a picture, smaller than 16 pixels, too large.
  """
  path = _check_file(path)
  try:
    with warnings.catch_warnings():
      warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
      with PIL.Image.open(path) as image:
        image = PIL.ImageOps.exif_transpose(image)
        if image.mode.startswith("I"):  # 16 bits: Pillow would clip, not scale
          image = PIL.Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        rgba = image.convert("RGBA")
  except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning):
    raise MediaError(f"{path}: the picture is too large; scale it down.") from None
  except (OSError, ValueError, SyntaxError) as error:
    raise MediaError(
      f"{path}: not a picture that can be read; convert it to png or jpeg."
    ) from error
  white = PIL.Image.new("RGBA", rgba.size, "white")
  pixels = np.array(PIL.Image.alpha_composite(white, rgba).convert("RGB"))
  if min(pixels.shape[:2]) < MIN_IMAGE_SIZE:
    raise MediaError(
      f"{path}: {pixels.shape[1]}x{pixels.shape[0]} pixels are too few; "
      f"at least {MIN_IMAGE_SIZE} on each side are needed."
    )
  return pixels


# --- Video out ---------------------------------------------------------------------


def _encode_audio(container, stream, audio: np.ndarray, sample_rate: int) -> None:
  """Encodes [s, channels] sound; the container notes the encoder's delay itself."""
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
  """Writes an mp4 (h264 yuv420p, AAC) that any browser plays.

  The file appears whole or not at all.

  Args:
    path: ends in `.mp4`; its folder must exist.
    frames: at least one; height and width even, as the pixel format demands.
    fps: frames a second, exact for film (`Fraction(60000, 1001)`).
    audio: in [-1, 1], from the first frame on; None for a silent video.
    sample_rate: of the audio, samples a second.
    crf: quality, 0 (lossless) to 51; 18 cannot be told from the source.

  Raises:
    MediaError: odd size, no frames, sound that is not a number, folder missing.
  """
  path = pathlib.Path(path)
  num, height, width, _ = frames.shape
  if not num:
    raise MediaError(f"{path}: no frames to write.")
  if height % 2 or width % 2:
    raise MediaError(
      f"{path}: {width}x{height} pixels cannot be written as h264; "
      "both sides must be even."
    )
  if path.suffix != ".mp4" or not path.parent.is_dir():
    raise MediaError(f"{path}: the name must end in .mp4 and its folder must exist.")
  if audio is not None:
    audio = audio.reshape(len(audio), -1)
    if not np.isfinite(audio).all():
      raise MediaError(f"{path}: the sound to write holds NaN or infinity.")
  handle, temporary = tempfile.mkstemp(prefix=".", suffix=".mp4", dir=path.parent)
  os.close(handle)
  try:
    with av.open(temporary, "w", options={"movflags": "+faststart"}) as container:
      video = container.add_stream("libx264", rate=fps, options={"crf": str(crf)})
      video.width, video.height, video.pix_fmt = width, height, "yuv420p"
      # Small videos: one thread is as fast, and builds run one process a core.
      video.codec_context.thread_count = 1
      # The matrix the converter uses, said aloud: players guess by size otherwise.
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
    os.chmod(temporary, 0o644)
    os.replace(temporary, path)
  finally:
    pathlib.Path(temporary).unlink(missing_ok=True)
