"""Reads video, sound and pictures.

Only this module and `writer` know the codecs (PyAV, Pillow). Whatever is wrong with a
file becomes a `MediaError` of one line. Files may come from anyone, so their length and
picture size are checked before memory is allocated. Times are seconds from the first
frame of the video, so that the picture and sound of a file share one clock.
"""

import dataclasses
import pathlib
import warnings
from collections.abc import Iterator

import av
import numpy as np
import PIL.Image
import PIL.ImageOps
from etils.epath import PathLike
from jaxtyping import Float32, Float64, Int64, UInt8

from data_pipeline.media.errors import MediaError

# Containers in a local file only: no playlists, no network.
_OPEN_OPTIONS = {
  "protocol_whitelist": "file",
  "format_whitelist": (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,asf,flv,mp3,wav,ogg,flac,aac"
  ),
}
CodecError = av.error.FFmpegError
MIN_IMAGE_SIZE = 16  # pixels of the shorter side; smaller pictures show nothing
MAX_SECONDS = 600  # per file; keeps a worker below 1 GB of memory
MAX_PIXELS = 4096 * 2304  # per frame


@dataclasses.dataclass(frozen=True)
class Video:
  """Decoded frames and their actual time stamps, in seconds from the first frame."""

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
      f"{path}: not a readable video or sound file "
      f"({_reason(error)}); convert it to mp4 or wav."
    ) from error


def _reason(error: BaseException) -> str:
  return f"{getattr(error, 'strerror', None) or error}".partition("\n")[0]


def _find_video(
  container: av.container.InputContainer,
) -> av.video.stream.VideoStream | None:
  """Returns the video stream, or None; the cover picture of a song is not one."""
  for stream in container.streams.video:
    if not stream.disposition & av.stream.Disposition.attached_pic:
      return stream
  return None


def _check_length(path: PathLike, seconds: float) -> None:
  if seconds > MAX_SECONDS:
    raise MediaError(
      f"{path}: {seconds / 60:.0f} minutes are too long; split it into files of at "
      f"most {MAX_SECONDS // 60} minutes."
    )


def _check_size(path: PathLike, width: int, height: int) -> None:
  if width * height > MAX_PIXELS:
    raise MediaError(f"{path}: {width}x{height} pixels are too many; scale it down.")
  if min(width, height) < MIN_IMAGE_SIZE:
    raise MediaError(
      f"{path}: {width}x{height} pixels are too few; at least {MIN_IMAGE_SIZE} on each "
      "side are needed."
    )


def _video_stream(
  container: av.container.InputContainer, path: PathLike
) -> av.video.stream.VideoStream:
  stream = _find_video(container)
  if stream is None or stream.codec_context is None:
    raise MediaError(f"{path}: this file has no picture; give a video.")
  width, height = stream.codec_context.width, stream.codec_context.height
  if width and height:  # known from the header
    _check_size(path, width, height)
  return stream


# --- Video ----------------------------------------------------------------------------


def frame_times(path: PathLike) -> Float64[np.ndarray, "n"]:
  """Reads the times at which frames are shown, without decoding them.

  Returns:
    Seconds from the first frame, ascending.

  Raises:
    MediaError: the file cannot be read, has no picture, or is truncated.
  """
  with _open(path) as container:
    stream = _video_stream(container, path)
    # Only the index of an mp4 states how many frames there should be.
    expected = stream.frames if "mp4" in container.format.name else 0
    try:
      stamps = sorted(
        packet.pts
        for packet in container.demux(stream)
        if packet.pts is not None and packet.size
      )
    except av.error.FFmpegError as error:
      raise MediaError(f"{path}: broken video ({_reason(error)}).") from error
    # The margin allows for edit lists, which may hide a few frames.
    if not stamps or len(stamps) < expected - max(2, expected // 100):
      raise MediaError(
        f"{path}: truncated, it has {len(stamps)} of {expected} frames; copy or "
        "download it again."
      )
    times = np.asarray(stamps, np.float64) * float(stream.time_base)
  _check_length(path, times[-1] - times[0])
  return times - times[0]


def read_frames(path: PathLike, wanted: Int64[np.ndarray, "n"]) -> Iterator[np.ndarray]:
  """Decodes a video and converts only the wanted frames to RGB.

  Args:
    path: any video.
    wanted: frame indices, ascending; an index may repeat.

  Yields:
    uint8 [h, w, 3] for each index, upright.

  Raises:
    MediaError: the video is broken, or has no such frame.
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
        _check_size(path, frame.width, frame.height)  # it may change within a video
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
    MediaError: the file is missing, empty, truncated or not a video.
  """
  times = frame_times(path)
  if max_seconds is not None:
    times = times[times < max_seconds]
  images = list(read_frames(path, np.arange(len(times))))
  return Video(np.stack(images), times)


# --- Sound ----------------------------------------------------------------------------
def has_sound(path: PathLike) -> bool:
  """Returns whether the file has a sound track; raises MediaError if unreadable."""
  with _open(path) as container:
    return bool(container.streams.audio)


def read_audio(
  path: PathLike, sample_rate: int, *, mono: bool = True
) -> Float32[np.ndarray, "s"] | Float32[np.ndarray, "s 2"]:
  """Decodes the sound of any file at `sample_rate`.

  Sample 0 belongs to the first frame of the picture (or to the start of a file without
  a picture): the encoder's delay is removed, and a late start is filled with zeros.

  Args:
    path: a video or sound file.
    sample_rate: of the result, in samples per second.
    mono: mix all channels by their mean; otherwise return two channels.

  Returns:
    Samples in [-1, 1].

  Raises:
    MediaError: the file is missing, empty or unreadable, has no sound, or its sound
      contains NaN.
  """
  with _open(path) as container:
    if not container.streams.audio:
      raise MediaError(f"{path}: this file has no sound; add music to it.")
    stream = container.streams.audio[0]
    if stream.codec_context is None:
      raise MediaError(f"{path}: unknown codec of its sound; convert it to mp4.")
    # Read now: the fields of a stream are not valid once its container is closed.
    picture = _find_video(container)
    origin = None
    if picture is not None and picture.start_time is not None:
      origin = float(picture.start_time * picture.time_base)
    # Channels are mixed by their mean: the resampler's own mix may exceed 1.
    layout = "mono" if stream.channels == 1 else "stereo"
    resampler = av.AudioResampler(format="flt", layout=layout, rate=sample_rate)

    def unpack(frame: av.AudioFrame) -> np.ndarray:
      samples = frame.to_ndarray().reshape(-1, 1 if layout == "mono" else 2)
      samples = np.clip(samples, -1.0, 1.0)
      # Mixed block by block, to never hold a whole song in stereo.
      return samples.mean(axis=1, keepdims=True) if mono else samples

    start, num_samples = None, 0
    chunks = []
    try:
      for frame in container.decode(stream):
        if start is None:
          start = 0.0 if frame.pts is None else float(frame.pts * frame.time_base)
        chunks += [unpack(f) for f in resampler.resample(frame)]
        num_samples += frame.samples
        _check_length(path, num_samples / stream.rate)
      if start is not None:
        chunks += [unpack(f) for f in resampler.resample(None)]
    except MediaError:
      raise
    except (av.error.FFmpegError, ValueError) as error:
      raise MediaError(
        f"{path}: broken sound ({_reason(error)}); copy or convert it again."
      ) from error
  if not chunks:
    raise MediaError(f"{path}: this file has no sound; add music to it.")
  audio = np.concatenate(chunks)
  if not np.isfinite(audio).all():
    raise MediaError(f"{path}: the sound contains NaN or infinity; export it again.")
  # A file without a picture starts with its sound, whatever the first time stamp is.
  shift = 0 if origin is None else round((start - origin) * sample_rate)
  if shift > 0:
    _check_length(path, shift / sample_rate)
    audio = np.pad(audio, ((shift, 0), (0, 0)))
  audio = audio[max(-shift, 0) :].astype(np.float32)
  return audio[:, 0] if mono else np.broadcast_to(audio, (len(audio), 2)).copy()


# --- Pictures -------------------------------------------------------------------------


def read_image(path: PathLike) -> UInt8[np.ndarray, "h w 3"]:
  """Reads a picture, turned upright (EXIF) and composited on white.

  Raises:
    MediaError: the file is missing, empty, too large, too small or not a picture.
  """
  path = _check_file(path)
  try:
    with warnings.catch_warnings():
      warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
      with PIL.Image.open(path) as image:
        image = PIL.ImageOps.exif_transpose(image)
        if image.mode.startswith("I"):  # 16 bits, which Pillow would clip, not scale
          image = PIL.Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        rgba = image.convert("RGBA")
  except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning):
    raise MediaError(f"{path}: the picture is too large; scale it down.") from None
  except (OSError, ValueError, SyntaxError) as error:
    raise MediaError(
      f"{path}: not a readable picture; convert it to png or jpeg."
    ) from error
  white = PIL.Image.new("RGBA", rgba.size, "white")
  pixels = np.array(PIL.Image.alpha_composite(white, rgba).convert("RGB"))
  if min(pixels.shape[:2]) < MIN_IMAGE_SIZE:
    raise MediaError(
      f"{path}: {pixels.shape[1]}x{pixels.shape[0]} pixels are too few; "
      f"at least {MIN_IMAGE_SIZE} on each side are needed."
    )
  return pixels
