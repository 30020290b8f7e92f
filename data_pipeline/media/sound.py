"""Reads the sound of any file, in step with its picture.

Each decoded frame is placed by its own time stamp: gaps become silence, so that what
comes behind a gap is not early. Damaged packets are passed over.
"""

import dataclasses

import av
import numpy as np
from etils.epath import PathLike
from jaxtyping import Float32

from data_pipeline.media.container import (
  ShownStamps,
  check_length,
  check_whole,
  find_video,
  open_media,
  read_packets,
  reason,
)
from data_pipeline.media.errors import MediaError
from data_pipeline.media.notes import add_note
from data_pipeline.media.pcm import int16_to_sound

SILENCE = 1e-4  # peak; three steps of 16 bits
MAX_LOST = 0.5  # share of the packets
_TOLERANCE_SECONDS = 0.02  # between a time stamp and the samples so far
_ANTIPHASE = 0.1  # level of the mean to that of the channels


def is_silent(audio: Float32[np.ndarray, "..."]) -> bool:
  """Returns whether nothing can be heard."""
  return not len(audio) or float(np.abs(audio).max()) < SILENCE


def has_sound(path: PathLike) -> bool:
  """Returns whether the file has a sound track; raises MediaError if unreadable."""
  with open_media(path) as container:
    return bool(container.streams.audio)


def read_audio(
  path: PathLike, sample_rate: int, *, mono: bool = True
) -> Float32[np.ndarray, "s"] | Float32[np.ndarray, "s 2"]:
  """Decodes the sound of any file at `sample_rate`.

  Sample 0 belongs to the first frame of the picture (or to the start of a file without
  a picture): the encoder's delay is removed, and a late start is filled with zeros. Of
  several tracks the default one is read, or the first that is not silent if it is.

  Args:
    path: a video or sound file.
    sample_rate: of the result, in samples per second.
    mono: mix all channels by their mean; otherwise return two channels.

  Returns:
    Samples in [-1, 1].

  Raises:
    MediaError: the file is missing, empty, truncated or unreadable, has no sound or
      lost most of it, or its sound contains NaN.
  """
  tracks = _order_tracks(path)
  audio = _read_track(path, tracks[0], sample_rate, mono)
  if is_silent(audio):
    for track in tracks[1:]:
      other = _read_track(path, track, sample_rate, mono)
      if not is_silent(other):
        add_note(
          path, f"sound track {tracks[0] + 1} is silent; track {track + 1} is used."
        )
        return other
  return audio


def _order_tracks(path: PathLike) -> list[int]:
  """Returns the numbers of the sound tracks, the default one first."""
  with open_media(path) as container:
    indices = [stream.index for stream in container.streams.audio]
    if not indices:
      raise MediaError(f"{path}: this file has no sound; add music to it.")
    order = list(range(len(indices)))
    best = container.streams.best("audio")
    if best is not None:
      order.insert(0, order.pop(indices.index(best.index)))
    return order


def _read_track(
  path: PathLike, track: int, sample_rate: int, mono: bool
) -> Float32[np.ndarray, "s"] | Float32[np.ndarray, "s 2"]:
  audio, is_antiphase = _decode_track(path, track, sample_rate, "mean" if mono else "")
  if is_antiphase:
    add_note(path, "its channels cancel each other; the first is used.")
    audio, _ = _decode_track(path, track, sample_rate, "left")
  if not np.isfinite(audio).all():
    raise MediaError(f"{path}: the sound contains NaN or infinity; export it again.")
  return audio[:, 0] if mono else np.broadcast_to(audio, (len(audio), 2)).copy()


def _decode_track(
  path: PathLike, track: int, sample_rate: int, mix: str
) -> tuple[Float32[np.ndarray, "s channels"], bool]:
  """Returns the samples of a track, and whether mixing the channels cancels them."""
  with open_media(path) as container:
    stream = container.streams.audio[track]
    if stream.codec_context is None:
      raise MediaError(f"{path}: unknown codec of its sound; convert it to mp4.")
    picture = find_video(container)
    # Read now: the fields of a stream are not valid once its container is closed.
    unit = None if picture is None else picture.time_base
    shown = ShownStamps(container)
    decoder = _Decoder(path, sample_rate, mix)
    streams = [stream] if picture is None else [stream, picture]
    try:
      for packet in read_packets(container, streams):
        if packet.stream_index == stream.index:
          decoder.decode(packet)
        else:
          shown.add(packet)
      decoder.finish()
      check_whole(path, stream, decoder.num_packets)
    except MediaError:
      raise
    except (av.error.FFmpegError, ValueError) as error:
      raise MediaError(
        f"{path}: broken sound ({reason(error)}); copy or convert it again."
      ) from error
  if not decoder.segments:
    raise MediaError(f"{path}: this file has no sound; add music to it.")
  # A file without a picture starts with its sound, whatever the first time stamp is.
  stamps = shown.ascending()
  origin = float(int(stamps[0]) * unit) if len(stamps) else decoder.segments[0].start
  return decoder.join(origin), decoder.is_antiphase


@dataclasses.dataclass
class _Segment:
  """Decoded sound without a gap, of one format.

  Attributes:
    start: its time stamp, in seconds.
    chunks: samples [s, 1 or 2] at the rate that was asked for.
  """

  start: float
  chunks: list[np.ndarray] = dataclasses.field(default_factory=list)


class _Decoder:
  """Decodes the packets of one track into segments.

  `mix` is "mean" or "left" for one channel, and empty for two.
  """

  def __init__(self, path: PathLike, sample_rate: int, mix: str) -> None:
    self.segments: list[_Segment] = []
    self._path, self._rate, self._mix = path, sample_rate, mix
    self._resampler: av.AudioResampler | None = None
    self._form: tuple[str, str, int] | None = None
    self._end = 0.0  # time stamp behind the last sample
    self.num_packets = self._num_lost = 0
    self._mean_power = self._channel_power = 0.0

  @property
  def is_antiphase(self) -> bool:
    """Returns whether the mean of the channels is nearly nothing beside them."""
    return self._mean_power < _ANTIPHASE**2 * self._channel_power

  def decode(self, packet: av.packet.Packet) -> None:
    """Takes the next packet."""
    self.num_packets += bool(packet.size)
    try:
      frames = packet.decode()
    except av.error.InvalidDataError:
      self._num_lost += 1
      return
    for frame in frames:
      self._add(frame)

  def finish(self) -> None:
    """Ends the last segment, and reports what was lost.

    Raises:
      MediaError: more than `MAX_LOST` was.
    """
    self._flush()
    lost = f"{self._num_lost} of {self.num_packets} packets cannot be decoded"
    if self._num_lost > MAX_LOST * self.num_packets:
      raise MediaError(f"{self._path}: broken sound, {lost}; copy or convert it again.")
    if self._num_lost:
      add_note(self._path, f"{lost} and are passed over in its sound.")

  def join(self, origin: float) -> Float32[np.ndarray, "s channels"]:
    """Returns all samples from a time stamp on, with zeros where there are none."""
    parts, end = [], 0
    tolerance = round(_TOLERANCE_SECONDS * self._rate)
    for number, segment in enumerate(self.segments):
      samples = np.concatenate(segment.chunks)
      start = round((segment.start - origin) * self._rate)
      if number and abs(start - end) <= tolerance:  # another format, but no gap
        start = end
      check_length(self._path, start / self._rate)
      if start > end:
        parts.append(np.zeros((start - end, samples.shape[1]), np.float32))
        end = start
      parts.append(samples[end - start :])
      end += len(parts[-1])
    channels = max(part.shape[1] for part in parts)
    parts = [np.broadcast_to(part, (len(part), channels)) for part in parts]
    return np.concatenate(parts).astype(np.float32)

  def _add(self, frame: av.AudioFrame) -> None:
    has_stamp = frame.pts is not None
    start = float(frame.pts * frame.time_base) if has_stamp else self._end
    form = (frame.format.name, frame.layout.name, frame.sample_rate)
    is_gap = abs(start - self._end) > _TOLERANCE_SECONDS
    if not self.segments or form != self._form or is_gap:
      self._flush()
      layout = frame.layout
      if layout.nb_channels < 3 or not self._mix:
        layout = "mono" if layout.nb_channels == 1 else "stereo"
      # Channels are mixed to one by their mean: the resampler's own mix may exceed 1.
      # To two it mixes them, and scales what could exceed 1 if it makes integers.
      sample_format = "s16" if frame.layout.nb_channels > 2 and not self._mix else "flt"
      self._resampler = av.AudioResampler(sample_format, layout, self._rate)
      self._form, self._end = form, start
      self.segments.append(_Segment(start))
    self.segments[-1].chunks += map(self._unpack, self._resampler.resample(frame))
    self._end += frame.samples / frame.sample_rate
    check_length(self._path, self._end - self.segments[0].start)

  def _flush(self) -> None:
    if self._resampler is not None:
      chunks = self.segments[-1].chunks
      chunks += map(self._unpack, self._resampler.resample(None))
      if not chunks:  # too short for a single sample
        self.segments.pop()
    self._resampler = None

  def _unpack(self, frame: av.AudioFrame) -> Float32[np.ndarray, "s channels"]:
    samples = frame.to_ndarray().reshape(-1, frame.layout.nb_channels)
    if samples.dtype == np.int16:
      samples = int16_to_sound(samples)
    samples = np.clip(samples, -1.0, 1.0)
    if not self._mix or samples.shape[1] == 1:
      return samples
    if self._mix == "left":
      return samples[:, :1]
    # Mixed block by block, to never hold a whole song in stereo.
    mean = samples.mean(axis=1, keepdims=True)
    self._mean_power += float(np.square(mean).sum())
    self._channel_power += float(np.square(samples).sum()) / samples.shape[1]
    return mean
