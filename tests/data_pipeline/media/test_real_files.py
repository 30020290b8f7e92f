"""Files as phones, editors, recorders and browsers write them are read as players do.

The films in `films/` last 8 s at 25 fps before they are cut. Each frame carries its
number as 8 bars, black or white, bit 0 on the left; every half second a click sounds,
500 Hz + 100 Hz for each half second before it.
"""

import lzma
import pathlib
import struct
import zlib
from fractions import Fraction

import av
import numpy as np
import PIL.Image
import pytest

from data_pipeline.media import reader
from data_pipeline.media.errors import MediaError

FILMS = pathlib.Path(__file__).with_name("films")
RATE = 44100
_1 = 2**16  # in the fixed point of mp4


def number_of(image):
  """Returns the number that a frame carries."""
  height, width, _ = image.shape
  bars = image[height // 4, (np.arange(8) * 2 + 1) * width // 16].mean(axis=-1)
  return int(((bars > 128) << np.arange(8)).sum())


def clicks_of(audio):
  """Returns the time of each click, and the time it marks in the whole film."""
  loud = np.flatnonzero(np.abs(audio) > 0.15)
  starts = loud[np.diff(loud, prepend=-RATE) > RATE // 10]
  for start in starts[starts < len(audio) - 1500].tolist():
    power = np.abs(np.fft.rfft(audio[start : start + 1500] * np.hanning(1500), RATE))
    yield start / RATE, round((int(power.argmax()) - 500) / 100) / 2


@pytest.mark.parametrize(
  "name, first, end",
  [
    ("cut_editlist.mp4", 83, 200),
    ("cut_mid_h264.ts", 32, 123),
    ("vp8_arf.webm", 0, 200),
  ],
)
def test_picture_and_sound_of_a_cut_film_are_in_step(name, first, end, tmp_path):
  film = tmp_path / name
  film.write_bytes(lzma.decompress((FILMS / f"{name}.xz").read_bytes()))
  video = reader.read_video(film)
  numbers = [number_of(image) for image in video.frames]
  assert numbers == list(range(first, end))
  clicks = list(clicks_of(reader.read_audio(film, RATE)))
  assert len(clicks) > 5
  for seconds, marked in clicks:
    shown = numbers[np.abs(video.times - seconds).argmin()]
    assert abs(shown / 25 - marked) < 0.06


# --- Films that are made here -----------------------------------------------------


def film(
  path,
  *,
  tracks=(),
  vcodec="libx264",
  size=(64, 48),
  aspect=None,
  num=20,
  options=None,
):
  """Writes a film of 2 s at 10 fps.

  A track is (samples, whether it is the default, which times to drop or None).
  """
  with av.open(str(path), "w") as container:
    video = container.add_stream(vcodec, rate=10, options=options or {})
    video.width, video.height = size
    video.pix_fmt = "yuv420p"
    if aspect:
      video.codec_context.sample_aspect_ratio = aspect
    sounds = [container.add_stream("aac", rate=RATE, layout="mono") for _ in tracks]
    for sound, (_, is_default, _) in zip(sounds, tracks, strict=True):
      sound.disposition = av.stream.Disposition.default if is_default else 0
    for i in range(num):
      image = np.full((size[1], size[0], 3), 10 * i, np.uint8)
      image[: size[1] // 2, : size[0] // 2] = 250  # upper left
      frame = av.VideoFrame.from_ndarray(image, format="rgb24")
      frame.pts, frame.time_base = i, Fraction(1, 10)
      container.mux(video.encode(frame))
    container.mux(video.encode(None))
    for sound, (samples, _, drop) in zip(sounds, tracks, strict=True):
      for begin in range(0, len(samples), 1024):
        block = np.ascontiguousarray(samples[None, begin : begin + 1024])
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
        frame.sample_rate, frame.pts = RATE, begin
        frame.time_base = Fraction(1, RATE)
        for packet in sound.encode(frame):
          if not (drop and drop(packet.pts / RATE)):
            container.mux(packet)
      container.mux(sound.encode(None))
  return path


def beeps(at, seconds=2.0):
  audio = np.zeros(round(seconds * RATE), np.float32)
  tone = np.sin(np.arange(441) * 2 * np.pi * 1000 / RATE).astype(np.float32)
  for t in at:
    audio[round(t * RATE) :][:441] = 0.8 * tone
  return audio


def onsets(audio):
  loud = np.flatnonzero(np.abs(audio) > 0.2)
  return loud[np.diff(loud, prepend=-RATE) > RATE // 10] / RATE


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "flv"])
def test_sound_behind_a_gap_is_not_early(tmp_path, suffix):
  gap = (beeps([0.2, 1.0, 1.7]), True, lambda t: 0.4 < t < 0.8)
  path = film(tmp_path / f"a.{suffix}", tracks=[gap])
  heard = onsets(reader.read_audio(path, RATE))
  np.testing.assert_allclose(heard, [0.2, 1.0, 1.7], atol=0.05)


def test_the_default_track_is_read_and_a_silent_one_is_passed_over(tmp_path):
  silence, loud, other = beeps([]), beeps([0.5]), beeps([1.0])
  path = film(tmp_path / "a.mkv", tracks=[(other, False, None), (loud, True, None)])
  np.testing.assert_allclose(onsets(reader.read_audio(path, RATE)), [0.5], atol=0.03)
  path = film(tmp_path / "b.mkv", tracks=[(silence, True, None), (other, False, None)])
  with reader.collect_notes() as notes:
    audio = reader.read_audio(path, RATE)
  np.testing.assert_allclose(onsets(audio), [1.0], atol=0.03)
  assert "track 2 is used" in " ".join(note.text for note in notes)


def test_channels_that_cancel_each_other_are_heard(tmp_path):
  left = beeps([0.5])
  with av.open(str(tmp_path / "a.wav"), "w") as container:
    stream = container.add_stream("pcm_s16le", rate=RATE, layout="stereo")
    both = (np.stack([left, -left], axis=1) * 30000).astype(np.int16).reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(both, format="s16", layout="stereo")
    frame.sample_rate = RATE
    container.mux([*stream.encode(frame), *stream.encode(None)])
  np.testing.assert_allclose(
    onsets(reader.read_audio(tmp_path / "a.wav", RATE)), [0.5], atol=0.01
  )


def test_frames_behind_damaged_ones_of_an_avi_are_not_early(tmp_path):
  path = film(tmp_path / "a.avi", vcodec="mpeg4", options={"g": "6"})
  data = bytearray(path.read_bytes())
  with av.open(str(path)) as container:
    for packet in [*container.demux()][6:10:3]:
      begin, num = packet.pos + 8, packet.size - 8
      data[begin : begin + num] = bytes(num)
  path.write_bytes(data)
  assert levels_of(reader.read_video(path))[12:] == list(range(12, 20))


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_pixels_that_are_not_square_are_shown_so(tmp_path, suffix):
  path = film(tmp_path / f"a.{suffix}", aspect=Fraction(4, 3), size=(48, 48))
  assert reader.read_video(path).frames.shape == (20, 48, 64, 3)


@pytest.mark.parametrize(
  "matrix, corner",
  [
    ((1, 0, 0, 1), (0, 0)),
    ((-1, 0, 0, 1), (0, 1)),  # mirrored
    ((1, 0, 0, -1), (1, 0)),
    ((-1, 0, 0, -1), (1, 1)),
    ((0, 1, -1, 0), (0, 1)),  # a quarter turn clockwise
    ((0, -1, 1, 0), (1, 0)),
    ((0, 1, 1, 0), (0, 0)),  # a quarter turn and mirrored
    ((0, -1, -1, 0), (1, 1)),
  ],
)
def test_every_orientation_is_undone(tmp_path, matrix, corner):
  data = bytearray(film(tmp_path / "a.mp4", num=2).read_bytes())
  a, b, c, d = (value * _1 for value in matrix)
  place = data.index(b"tkhd") + 44
  data[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 2**30)
  (tmp_path / "b.mp4").write_bytes(data)
  image = reader.read_video(tmp_path / "b.mp4").frames[0]
  assert image.shape == ((48, 64, 3) if matrix[0] else (64, 48, 3))
  rows, columns = (np.array_split(np.arange(n), 2) for n in image.shape[:2])
  means = [[image[np.ix_(r, c)].mean() for c in columns] for r in rows]
  assert np.unravel_index(np.argmax(means), (2, 2)) == corner


def song(path, codec, layout="mono"):
  """Writes 1 s of beeps without a picture."""
  with av.open(str(path), "w") as container:
    stream = container.add_stream(codec, rate=RATE, layout=layout)
    audio = np.tile(beeps([0.3], 1.0), (2 if layout == "stereo" else 1, 1))
    step = stream.codec_context.frame_size or 1024
    for begin in range(0, RATE, step):
      block = np.ascontiguousarray(audio[:, begin : begin + step])
      frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
      frame.sample_rate, frame.pts = RATE, begin
      container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
  return path.read_bytes()


@pytest.mark.parametrize("suffix, codec", [("mp3", "libmp3lame"), ("aac", "aac")])
def test_a_song_with_a_hole_or_zeros_behind_is_read(tmp_path, suffix, codec):
  path = tmp_path / f"a.{suffix}"
  data = song(path, codec)
  path.write_bytes(data + bytes(20_000))
  np.testing.assert_allclose(onsets(reader.read_audio(path, RATE)), [0.3], atol=0.1)
  hole = bytearray(data)
  hole[-300:-100] = bytes(200)
  path.write_bytes(hole)
  with reader.collect_notes() as notes:
    audio = reader.read_audio(path, RATE)
  np.testing.assert_allclose(onsets(audio), [0.3], atol=0.1)
  assert all("cannot be decoded" in note.text for note in notes)


def test_joined_songs_of_other_layouts_are_read(tmp_path):
  path = tmp_path / "a.aac"
  path.write_bytes(song(path, "aac") + song(path, "aac", "stereo"))
  heard = onsets(reader.read_audio(path, RATE))
  np.testing.assert_allclose(heard, [0.3, 1.3], atol=0.1)


def test_a_song_that_is_mostly_damaged_is_refused(tmp_path):
  path = tmp_path / "a.flac"
  data = bytearray(song(path, "flac"))
  rng = np.random.default_rng(0)
  data[4000:] = rng.integers(0, 255, len(data) - 4000, np.uint8).tobytes()
  path.write_bytes(data)
  audio = None
  try:
    audio = reader.read_audio(path, RATE)
  except MediaError as error:
    assert "\n" not in str(error)
  assert audio is None or len(audio) < RATE


@pytest.mark.parametrize(
  "suffix, codec",
  [("aiff", "pcm_s16be"), ("caf", "pcm_s16le"), ("wv", "wavpack"), ("au", "pcm_s16be")],
)
def test_formats_of_studios_are_read(tmp_path, suffix, codec):
  path = tmp_path / f"a.{suffix}"
  song(path, codec)
  np.testing.assert_allclose(onsets(reader.read_audio(path, RATE)), [0.3], atol=0.01)


def test_a_colon_in_a_name_is_no_protocol(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  song(pathlib.Path("a.wav"), "pcm_s16le")
  pathlib.Path("a.wav").rename("12:30.wav")
  assert len(onsets(reader.read_audio("12:30.wav", RATE))) == 1


@pytest.mark.parametrize(
  "name, cure", [(".", "folder"), ("https://example.org/a.wav", "address")]
)
def test_what_is_no_file_is_named(name, cure):
  with pytest.raises(MediaError, match=cure):
    reader.read_audio(name, RATE)


# --- Pictures ---------------------------------------------------------------------


def add_chunk(png, kind, content):
  """Returns a PNG with one more chunk behind its header."""
  chunk = struct.pack(">I", len(content)) + kind + content
  chunk += struct.pack(">I", zlib.crc32(kind + content))
  return png[:33] + chunk + png[33:]


@pytest.mark.parametrize(
  "kind, content",
  [
    (b"zTXt", b"workflow\0\0" + zlib.compress(bytes(80 * 2**20))),
    (b"eXIf", b"nonsense"),
    (b"eXIf", b"MM\0*\0\0\0\x08\xff\xff\x01\x12"),
  ],
)
def test_odd_metadata_of_a_picture_is_ignored(tmp_path, kind, content):
  path = tmp_path / "a.png"
  PIL.Image.new("RGB", (30, 20), (9, 8, 7)).save(path)
  path.write_bytes(add_chunk(path.read_bytes(), kind, content))
  assert (reader.read_image(path) == (9, 8, 7)).all()


@pytest.mark.parametrize(
  "values, level",
  [
    (np.full((20, 30), 0.5, np.float32), 128),
    (np.full((20, 30), 200.0, np.float32), 200),
    (np.full((20, 30), 200, np.int32), 200),
    (np.full((20, 30), 25600, np.int32), 100),
    (np.full((20, 30), 200, "<u2"), 0),
    (np.full((20, 30), 200, ">u2"), 0),
  ],
)
def test_grey_values_of_32_bits_keep_their_brightness(tmp_path, values, level):
  PIL.Image.fromarray(values).save(tmp_path / "a.tif")
  assert (reader.read_image(tmp_path / "a.tif") == level).all()


def test_a_long_picture_is_scaled_and_a_ribbon_refused(tmp_path):
  path = tmp_path / "a.png"
  PIL.Image.new("RGB", (300, 12000), (9, 8, 7)).save(path)
  assert reader.read_image(path).shape == (4000, 100, 3)
  PIL.Image.new("L", (40000, 16)).save(path)
  with pytest.raises(MediaError, match="too narrow"):
    reader.read_image(path)


def test_a_picture_of_an_iphone_is_read_or_its_package_named():
  try:
    assert reader.read_image(FILMS / "phone.heic").ndim == 3
  except MediaError as error:
    assert "a HEIC picture" in str(error) and "\n" not in str(error)


# --- Open groups of pictures, and joined recordings -------------------------------


def open_gop(path):
  """Writes a film of 2 s whose leading pictures need an earlier key frame."""
  options = {"x265-params": "open-gop=1:keyint=8:min-keyint=8:bframes=3:log-level=none"}
  return film(
    path,
    tracks=[(beeps([0.2, 1.0, 1.7]), True, None)],
    vcodec="libx265",
    options=options,
  )


def copy_from(path, number, target):
  """Copies a film from a key frame on, as lossless cutters do."""
  with av.open(str(path)) as source, av.open(str(target), "w") as out:
    streams = [out.add_stream_from_template(stream) for stream in source.streams]
    packets = [packet for packet in source.demux() if packet.dts is not None]
    keys = [p for p in packets if p.is_keyframe and p.stream.type == "video"]
    first = keys[number].dts * keys[number].time_base
    for packet in packets:
      if packet.dts * packet.time_base >= first:
        packet.stream = streams[packet.stream.index]
        out.mux(packet)
  return target


def levels_of(video):
  """Returns the numbers of the frames of a `film`, by their grey level."""
  return [round(float(image[-4:, -4:].mean()) / 10) for image in video.frames]


@pytest.mark.parametrize("suffix", ["mkv", "ts"])
def test_a_cut_of_an_open_group_of_pictures_is_in_step(tmp_path, suffix):
  whole = open_gop(tmp_path / "whole.ts")
  assert levels_of(reader.read_video(whole)) == list(range(20))
  cut = copy_from(whole, 1, tmp_path / f"cut.{suffix}")
  video = reader.read_video(cut)
  assert levels_of(video) == list(range(8, 20))
  heard = onsets(reader.read_audio(cut, RATE))
  np.testing.assert_allclose(heard[-2:], [0.2, 0.9], atol=0.05)


def test_a_joined_recording_goes_on_where_its_time_stamps_begin_anew(tmp_path):
  whole = open_gop(tmp_path / "whole.ts")
  cut = copy_from(whole, 1, tmp_path / "cut.ts")
  joined = tmp_path / "joined.ts"
  joined.write_bytes(cut.read_bytes() + whole.read_bytes())
  video = reader.read_video(joined)
  numbers = levels_of(video)
  assert numbers == [*range(8, 20), *range(20)]
  assert np.diff(video.times).max() < 0.5
  heard = onsets(reader.read_audio(joined, RATE))
  # Of the second part: its clicks, as long behind its first frame as in the whole film.
  second = video.times[numbers.index(0)]
  np.testing.assert_allclose(heard[-3:] - second, [0.2, 1.0, 1.7], atol=0.05)
