"""Opens media files and reads their packets, whoever made them.

Whatever is wrong with a file becomes a `MediaError` of one line. Files may come from
anyone: no playlists, no network, and length and picture size are checked before memory
is allocated.
"""

import math
import os
import pathlib
from collections.abc import Iterator, Sequence

import av
import numpy as np
from etils.epath import PathLike
from jaxtyping import Int64

from data_pipeline.media.errors import MediaError

# Containers in a local file only: no playlists, no network.
OPEN_OPTIONS = {
  "protocol_whitelist": "file",
  "format_whitelist": (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,asf,flv,mp3,wav,ogg,flac,"
    "aac,aiff,caf,w64,wv,au,ac3,eac3,tta,ape,amr,gif"
  ),
}
CodecError = av.error.FFmpegError
MIN_IMAGE_SIZE = 16  # pixels of the shorter side; smaller pictures show nothing
MAX_SECONDS = 600  # per file; keeps a worker below 1 GB of memory
MAX_PIXELS = 4096 * 2304  # per frame
_MAX_BROKEN_READS = 100  # of one file
_RESTART_SECONDS = 1.0  # time stamps that go back further begin anew (joined files)


def check_file(path: PathLike) -> pathlib.Path:
  """Returns the path of a file that can be opened.

  Raises:
    MediaError: it does not exist, is not a file, is empty or may not be read.
  """
  if "://" in os.fspath(path):
    raise MediaError(f"{path}: an address; save it as a file first.")
  path = pathlib.Path(path)
  if path.is_dir():
    raise MediaError(f"{path}: a folder; name a file in it.")
  if path.exists() and not path.is_file():
    raise MediaError(f"{path}: a pipe or device; save it as a file first.")
  if not path.is_file():
    raise MediaError(f"{path}: no such file; check the path.")
  if path.stat().st_size == 0:
    raise MediaError(f"{path}: the file is empty; copy or download it again.")
  if not os.access(path, os.R_OK):
    raise MediaError(f"{path}: no permission to read this file; change its mode.")
  return path


def open_media(path: PathLike) -> av.container.InputContainer:
  """Opens a video or sound file.

  Raises:
    MediaError: it cannot be opened.
  """
  path = check_file(path)
  try:
    # With a protocol, a colon in the name is a colon.
    return av.open(f"file:{path}", options=OPEN_OPTIONS)
  except (av.error.FFmpegError, ValueError, OSError) as error:
    raise MediaError(
      f"{path}: not a readable video or sound file "
      f"({reason(error)}); convert it to mp4 or wav."
    ) from error


def reason(error: BaseException) -> str:
  """Returns the first line of what a codec says."""
  return f"{getattr(error, 'strerror', None) or error}".partition("\n")[0]


def find_video(
  container: av.container.InputContainer,
) -> av.video.stream.VideoStream | None:
  """Returns the video stream, or None; the cover picture of a song is not one."""
  for stream in container.streams.video:
    if not stream.disposition & av.stream.Disposition.attached_pic:
      return stream
  return None


def check_length(path: PathLike, seconds: float) -> None:
  """Raises MediaError if a file lasts a second longer than `MAX_SECONDS`, or more."""
  if seconds > MAX_SECONDS + 1:  # encoders add up to a frame of sound
    raise MediaError(
      f"{path} lasts more than {MAX_SECONDS // 60} minutes; split it into files of at"
      f" most {MAX_SECONDS // 60} minutes."
    )


def check_size(path: PathLike, width: int, height: int) -> None:
  """Raises MediaError if a frame has too many pixels, or too few."""
  if width * height > MAX_PIXELS:
    raise MediaError(f"{path}: {width}x{height} pixels are too many; scale it down.")
  if min(width, height) < MIN_IMAGE_SIZE:
    raise MediaError(
      f"{path}: {width}x{height} pixels are too few; at least {MIN_IMAGE_SIZE} on each "
      "side are needed."
    )


def check_whole(path: PathLike, stream: av.stream.Stream, found: int) -> None:
  """Checks that no packets are missing, which only the index of an mp4 tells.

  Raises:
    MediaError: they are.
  """
  is_indexed = "mp4" in stream.container.format.name
  expected = min(stream.frames, len(stream.index_entries)) if is_indexed else 0
  # The margin allows for edit lists, which may hide a few.
  if found < expected - max(2, expected // 100):
    raise MediaError(
      f"{path}: truncated, it has {found} of {expected} packets of {stream.type}; copy "
      "or download it again."
    )


def read_packets(
  container: av.container.InputContainer, streams: Sequence[av.stream.Stream]
) -> Iterator[av.packet.Packet]:
  """Yields all packets of some streams, and passes over what is no packet.

  Where the time stamps of joined files begin anew, they are made to go on; what cannot
  be decoded there, before the first key frame, is left out.
  """
  wanted = {stream.index for stream in streams}
  # All of them, so that a join is the same for picture and sound, whoever reads it.
  timed = (*container.streams.video, *container.streams.audio)
  joins = _Joins()
  for _ in range(_MAX_BROKEN_READS):
    try:
      for packet in container.demux(*timed):
        if joins.shift(packet) and packet.stream_index in wanted:
          yield packet
      return
    except av.error.InvalidDataError:
      continue


class _Joins:
  """Shifts the packets behind each join by the length of what is before it."""

  def __init__(self) -> None:
    self._shifts = [0.0]  # seconds, of each joined part
    self._parts: dict[int, int] = {}  # in which part each stream is
    self._ends: dict[int, float] = {}  # of each stream so far, in seconds
    self._keys: dict[int, float] = {}  # of the first key frame behind a join

  def shift(self, packet: av.packet.Packet) -> bool:
    """Shifts the time stamps of the next packet; returns whether it can be decoded."""
    if packet.dts is None or packet.time_base is None:
      return True
    index, unit = packet.stream_index, float(packet.time_base)
    part, end = self._parts.get(index, 0), self._ends.get(index, -math.inf)
    if packet.dts * unit + self._shifts[part] < end - _RESTART_SECONDS:
      part += 1
      self._keys[index] = math.inf
      if part == len(self._shifts):
        self._shifts.append(max(self._ends.values()) - packet.dts * unit)
    self._parts[index] = part
    if self._shifts[part]:
      shift = round(self._shifts[part] / unit)
      packet.dts += shift
      packet.pts = None if packet.pts is None else packet.pts + shift
    self._ends[index] = (packet.dts + (packet.duration or 0)) * unit
    shown = packet.dts if packet.pts is None else packet.pts
    if packet.is_keyframe:
      self._keys[index] = min(shown, self._keys.get(index, -math.inf))
    return shown >= self._keys.get(index, -math.inf)


class ShownStamps:
  """Time stamps of the frames that a player shows, from the packets of a video.

  Hidden packets (the lead-in of a lossless trim) are left out, and so are frames before
  the first key frame, which cannot be decoded (the start of a recording). In AVI, which
  has no presentation times, the n-th frame has the n-th decoding time.
  """

  def __init__(self, container: av.container.InputContainer) -> None:
    self.are_decoding_times = container.format.name == "avi"
    self.num_packets = 0
    self._stamps: list[int] = []
    self._first_key: int | None = None

  def add(self, packet: av.packet.Packet) -> None:
    """Takes the next packet, in the order of the file."""
    stamp = packet.dts if self.are_decoding_times else packet.pts
    if stamp is None or not packet.size:
      return
    self.num_packets += 1
    if packet.is_keyframe and self._first_key is None:
      self._first_key = stamp  # even if it is hidden
    if not packet.is_discard:
      self._stamps.append(stamp)

  def ascending(self) -> Int64[np.ndarray, "n"]:
    """Returns the stamps in units of the stream, each once."""
    stamps = np.unique(np.asarray(self._stamps, np.int64))
    return stamps if self._first_key is None else stamps[stamps >= self._first_key]
