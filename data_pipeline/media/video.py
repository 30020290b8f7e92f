"""Reads the frames of videos as players show them.

Frames are found by their time stamps, so that hidden, undecodable and repeated packets
shift nothing. Rotation, mirroring and the shape of pixels are applied. Times are
seconds from the first frame that is shown.
"""

import dataclasses
from collections.abc import Iterator

import av
import numpy as np
from av.video.reformatter import Colorspace
from etils.epath import PathLike
from jaxtyping import Float64, Int32, Int64, UInt8

from data_pipeline.media.container import (
  ShownStamps,
  check_length,
  check_size,
  check_whole,
  find_video,
  open_media,
  read_packets,
  reason,
)
from data_pipeline.media.errors import MediaError
from data_pipeline.media.notes import add_note

_UNSPECIFIED = 2  # the matrix of colours
_HDR = (16, 18)  # PQ and HLG
MAX_HOLE_SECONDS = 0.5  # a frame may stand for undecodable ones this far behind it


@dataclasses.dataclass(frozen=True)
class Video:
  """Decoded frames and their actual time stamps, in seconds from the first frame."""

  frames: UInt8[np.ndarray, "n h w 3"]
  times: Float64[np.ndarray, "n"]


def _video_stream(
  container: av.container.InputContainer, path: PathLike
) -> av.video.stream.VideoStream:
  stream = find_video(container)
  if stream is None or stream.codec_context is None:
    raise MediaError(f"{path}: this file has no picture; give a video.")
  width, height = stream.codec_context.width, stream.codec_context.height
  if width and height:  # known from the header
    check_size(path, width, height)
  return stream


def _read_stamps(path: PathLike) -> tuple[Int64[np.ndarray, "n"], float]:
  """Returns the stamps of the frames that are shown, and the seconds of a unit."""
  with open_media(path) as container:
    stream = _video_stream(container, path)
    shown = ShownStamps(container)
    try:
      for packet in read_packets(container, [stream]):
        shown.add(packet)
    except av.error.FFmpegError as error:
      raise MediaError(f"{path}: broken video ({reason(error)}).") from error
    stamps, unit = shown.ascending(), float(stream.time_base)
    check_whole(path, stream, shown.num_packets)
  if not len(stamps):
    raise MediaError(f"{path}: truncated, it has no frames; copy or download it again.")
  return stamps, unit


def frame_times(path: PathLike) -> Float64[np.ndarray, "n"]:
  """Reads the times at which frames are shown, without decoding them.

  Returns:
    Seconds from the first frame, ascending.

  Raises:
    MediaError: the file cannot be read, has no picture, or is truncated.
  """
  stamps, unit = _read_stamps(path)
  times = stamps.astype(np.float64) * unit
  check_length(path, times[-1] - times[0])
  return times - times[0]


def read_frames(path: PathLike, wanted: Int64[np.ndarray, "n"]) -> Iterator[np.ndarray]:
  """Decodes a video and converts only the wanted frames to RGB.

  Where a frame cannot be decoded, the one before it is still on the screen.

  Args:
    path: any video.
    wanted: indices into `frame_times`, ascending; an index may repeat.

  Yields:
    uint8 [h, w, 3] for each index, as shown: upright and with square pixels.

  Raises:
    MediaError: the video is broken, or has no such frame.
  """
  stamps, unit = _read_stamps(path)
  if len(wanted) and wanted[-1] >= len(stamps):
    raise MediaError(f"{path}: there is no frame {wanted[-1]}, it has {len(stamps)}.")
  remaining = iter(stamps[wanted].tolist())
  want = next(remaining, None)
  before, num_held = None, 0
  with open_media(path) as container:
    stream = _video_stream(container, path)

    def held(instead: tuple[int, av.VideoFrame] | None, want: int) -> np.ndarray:
      if instead is None or abs(want - instead[0]) * unit > MAX_HOLE_SECONDS:
        raise MediaError(
          f"{path}: the frames at {(want - stamps[0]) * unit:.2f} s cannot be decoded; "
          "copy or download the file again."
        )
      return _shown(instead[1], stream, path)

    for stamp, frame in _decode(container, stream, stamps, path):
      while want is not None and want < stamp:
        yield held(before or (stamp, frame), want)
        want, num_held = next(remaining, None), num_held + 1
      if want == stamp:
        image = _shown(frame, stream, path)
        while want == stamp:
          yield image
          want = next(remaining, None)
      before = (stamp, frame)
      if want is None:
        break
    while want is not None:
      yield held(before, want)
      want, num_held = next(remaining, None), num_held + 1
  if before and before[1].color_trc in _HDR:
    add_note(path, "it is HDR, so its colours are pale; convert it to SDR.")
  if num_held:
    add_note(path, f"{num_held} frames cannot be decoded; the ones before them stay.")


def _decode(
  container: av.container.InputContainer,
  stream: av.video.stream.VideoStream,
  stamps: Int64[np.ndarray, "n"],
  path: PathLike,
) -> Iterator[tuple[int, av.VideoFrame]]:
  """Yields the decodable frames with their time stamps."""
  is_counted = ShownStamps(container).are_decoding_times
  count = 0
  try:
    for packet in read_packets(container, [stream]):
      try:
        frames = packet.decode()
      except av.error.InvalidDataError:
        frames = None
      # A missing frame keeps its place. Decoders give none while they wait for those to
      # reorder: at first, and some later as well.
      is_late = not count or stream.codec_context.name in ("h264", "hevc")
      if packet.size and (frames is None or not frames and not is_late):
        count += 1
      for frame in frames or ():
        if is_counted and count < len(stamps):
          yield int(stamps[count]), frame
        elif not is_counted and frame.pts is not None:
          yield frame.pts, frame
        count += 1
  except av.error.FFmpegError as error:
    raise MediaError(
      f"{path}: broken video ({reason(error)}); copy or download it again."
    ) from error


def _shown(
  frame: av.VideoFrame, stream: av.video.stream.VideoStream, path: PathLike
) -> UInt8[np.ndarray, "h w 3"]:
  """Returns a frame as a player shows it."""
  width, height = frame.width, frame.height
  check_size(path, width, height)  # it may change within a video
  if frame.colorspace == _UNSPECIFIED and (height >= 720 or width >= 1280):
    frame.colorspace = Colorspace.ITU709  # else ITU601 is assumed
  aspect = stream.sample_aspect_ratio
  if aspect and aspect != 1:  # of a pixel, width to height
    width = round(width * aspect)
    check_size(path, width, height)
    frame = frame.reformat(width=width, height=height, format="rgb24")
  image = frame.to_ndarray(format="rgb24")
  matrix = frame.side_data.get("DISPLAYMATRIX")
  return image if matrix is None else _oriented(image, np.frombuffer(matrix, np.int32))


def _oriented(
  image: UInt8[np.ndarray, "h w 3"], matrix: Int32[np.ndarray, "9"]
) -> UInt8[np.ndarray, "h2 w2 3"]:
  """Turns and mirrors an image by the nearest multiple of a quarter turn.

  Args:
    image: as it is stored.
    matrix: display matrix, (x, y) -> (a x + c y, b x + d y), in rows of three.
  """
  a, b, _, c, d = (int(value) for value in matrix[:5])
  if abs(a) + abs(d) < abs(b) + abs(c):
    image, a, d = image.swapaxes(0, 1), c, b
  if d < 0:
    image = image[::-1]
  return image[:, ::-1] if a < 0 else image


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
