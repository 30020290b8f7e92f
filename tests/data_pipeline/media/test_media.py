"""Files survive writing and reading, and bad ones are refused in one clear line."""

import re
from fractions import Fraction

import av
import numpy as np
import PIL.Image
import PIL.ImageCms
import pytest

from data_pipeline.media import container, reader, writer
from data_pipeline.media.errors import MediaError

RATE = 22050


def picture(num=8, height=36, width=64):
  """Returns plain grey frames whose level gives their index."""
  level = 20 + 20 * np.arange(num, dtype=np.uint8)
  return np.broadcast_to(level[:, None, None, None], (num, height, width, 3)).copy()


def clicks(seconds, at, rate=RATE):
  """Returns sound with clicks at some times."""
  audio = np.zeros(round(seconds * rate), np.float32)
  for t in at:
    start = round(t * rate)
    audio[start : start + 40] = np.hanning(40)
  return audio


def write_wav(path, audio, rate=RATE, codec="pcm_f32le", layout="mono"):
  with av.open(str(path), "w") as container:
    stream = container.add_stream(codec, rate=rate, layout=layout)
    frame = av.AudioFrame.from_ndarray(audio.reshape(1, -1), "flt", layout)
    frame.sample_rate = rate
    container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
  return path


@pytest.fixture(scope="module")
def film(tmp_path_factory):
  path = tmp_path_factory.mktemp("film") / "film.mp4"
  writer.write_video(path, picture(), 10, clicks(0.8, [0.1, 0.5]), RATE)
  return path


@pytest.mark.parametrize("fps", [10, Fraction(60000, 1001)])
def test_a_written_video_keeps_its_frames_and_times(tmp_path, fps):
  writer.write_video(tmp_path / "a.mp4", picture(), fps, None, RATE)
  video = reader.read_video(tmp_path / "a.mp4")
  np.testing.assert_allclose(video.frames, picture(), atol=3)
  np.testing.assert_allclose(video.times, np.arange(8) / float(fps), atol=1e-4)
  assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize("size, matrix", [((32, 32), "ITU601"), ((720, 32), "ITU709")])
def test_colours_survive_whether_a_film_names_its_matrix_or_not(tmp_path, size, matrix):
  image = np.full((*size, 3), (220, 30, 30), np.uint8)
  writer.write_video(tmp_path / "a.mp4", image[None], 10, None, RATE)  # it does
  with av.open(str(tmp_path / "a.mkv"), "w") as film:
    stream = film.add_stream("ffv1", rate=10)
    (stream.height, stream.width), stream.pix_fmt = size, "yuv444p"
    frame = av.VideoFrame.from_ndarray(image, format="rgb24")
    frame = frame.reformat(format="yuv444p", dst_colorspace=matrix)
    film.mux([*stream.encode(frame), *stream.encode(None)])
  for path in tmp_path.iterdir():
    back = reader.read_video(path).frames.mean((0, 1, 2))
    np.testing.assert_allclose(back, image[0, 0], atol=4)


@pytest.mark.parametrize("rate", [22050, 44100, 48000])
def test_sound_is_read_without_the_delay_of_its_encoder(tmp_path, rate):
  audio = clicks(0.8, [0.1, 0.5], rate)
  writer.write_video(tmp_path / "a.mp4", picture(), 10, audio, rate)
  back = reader.read_audio(tmp_path / "a.mp4", rate)[: len(audio)]
  lag = np.argmax(np.correlate(back, audio, "full")) - (len(audio) - 1)
  assert abs(lag) <= rate / 1000


def test_sound_is_resampled_and_mixed(tmp_path):
  tone = np.sin(np.arange(RATE) * 2 * np.pi * 440 / RATE).astype(np.float32)
  stereo = np.stack([tone, np.zeros_like(tone)], axis=1)
  writer.write_video(tmp_path / "a.mp4", picture(10), 10, stereo, RATE)
  both = reader.read_audio(tmp_path / "a.mp4", RATE, mono=False)
  assert both.shape[1] == 2 and np.abs(both[:, 1]).max() < 0.05
  mono = reader.read_audio(tmp_path / "a.mp4", 16000)
  spectrum = np.abs(np.fft.rfft(mono[:16000]))
  assert spectrum.argmax() == 440
  assert abs(np.abs(mono[2000:14000]).max() - 0.5) < 0.1


def test_only_the_wanted_frames_are_returned(film):
  images = list(reader.read_frames(film, np.array([1, 4, 4, 6])))
  levels = [int(image.mean() - 20 + 10) // 20 for image in images]
  assert levels == [1, 4, 4, 6]
  with pytest.raises(MediaError, match="frame 8"):
    list(reader.read_frames(film, np.array([8])))


def test_reading_may_stop_early(film):
  assert len(reader.read_video(film, max_seconds=0.35).frames) == 4


def test_wav_and_ogg_are_read(tmp_path):
  audio = clicks(1.0, [0.3])
  back = reader.read_audio(write_wav(tmp_path / "a.wav", audio), RATE)
  np.testing.assert_allclose(back, audio, atol=1e-6)
  for name, codec, rate in (("a.flac", "flac", RATE), ("a.ogg", "libopus", 48_000)):
    back = reader.read_audio(write_wav(tmp_path / name, audio, rate, codec), rate)
    assert abs(int(back.argmax()) - int(audio.argmax())) <= 2


def test_all_channels_are_mixed_by_their_mean(tmp_path):
  audio = np.random.default_rng(0).random((RATE, 6), np.float32)
  back = reader.read_audio(write_wav(tmp_path / "a.wav", audio, layout="5.1"), RATE)
  np.testing.assert_allclose(back, audio.mean(axis=1), atol=1e-6)


def test_surround_is_mixed_to_stereo_without_cutting_its_peaks(tmp_path):
  level = np.array([0.8, 0.8, 0.5, 0, 0.4, 0.4], np.float32)  # centre, and surround
  wave = np.sin(np.arange(RATE) * 0.05)[:, None].astype(np.float32)
  path = write_wav(tmp_path / "a.wav", wave * level, layout="5.1")
  back = reader.read_audio(path, RATE, mono=False)
  assert back.shape == (RATE, 2) and 0.3 < np.abs(back).max() < 1
  scale = np.abs(back).max()
  np.testing.assert_allclose(back, scale * np.repeat(wave, 2, 1), atol=1e-3)


# --- Errors are one line --------------------------------------------------------------


def one_line(call, *args):
  """Returns the message of the MediaError that a call raises; it names the file."""
  with pytest.raises(MediaError) as error:
    call(*args)
  message = str(error.value)
  assert "\n" not in message and str(args[0]) in message
  return message


READERS = {
  "mp4": reader.read_video,
  "png": reader.read_image,
  "wav": lambda path: reader.read_audio(path, RATE),
}


@pytest.mark.parametrize("kind", READERS)
def test_missing_empty_and_other_files_are_refused(tmp_path, kind):
  path = tmp_path / f"a.{kind}"
  assert "no such file" in one_line(READERS[kind], path)
  path.write_bytes(b"")
  assert "empty" in one_line(READERS[kind], path)
  path.write_text("this is a text\n" * 50)
  assert "not a readable" in one_line(READERS[kind], path)


@pytest.mark.parametrize(
  "name, text",
  [
    ("a.mp4", "ffconcat version 1.0\nfile film.mp4\n"),
    (
      "a.m3u8",
      "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXTINF:0.8,\n"
      "film.mp4\n#EXT-X-ENDLIST\n",
    ),
  ],
)
def test_a_playlist_opens_no_other_file(tmp_path, film, monkeypatch, name, text):
  (tmp_path / "film.mp4").write_bytes(film.read_bytes())
  (tmp_path / name).write_text(text)
  assert "not a readable video" in one_line(reader.read_video, tmp_path / name)
  # It would without the list of allowed formats.
  monkeypatch.delitem(container.OPEN_OPTIONS, "format_whitelist")
  assert len(reader.read_video(tmp_path / name).frames) == 8


def test_a_truncated_video_is_refused(tmp_path, film):
  whole = film.read_bytes()
  path = tmp_path / "a.mp4"
  frames = whole.index(b"mdat")
  assert whole.index(b"moov") < frames  # the index comes first
  path.write_bytes(whole[: frames + 1000])
  assert "packets of video" in one_line(reader.read_video, path)
  assert "packets of audio" in one_line(READERS["wav"], path)
  path.write_bytes(whole[: len(whole) // 3])  # within the index
  assert "not a readable video" in one_line(reader.read_video, path)


def test_sound_with_nan_is_refused(tmp_path):
  audio = clicks(0.5, [0.2])
  audio[100] = np.nan
  path = write_wav(tmp_path / "a.wav", audio)
  assert "NaN" in one_line(READERS["wav"], path)
  with pytest.raises(MediaError, match="NaN"):
    writer.write_video(tmp_path / "b.mp4", picture(), 10, audio, RATE)
  assert not (tmp_path / "b.mp4").exists()


def test_a_picture_that_is_cut_off_is_said_to_be(tmp_path):
  noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
  writer.write_image(tmp_path / "a.jpg", noise)
  content = (tmp_path / "a.jpg").read_bytes()
  (tmp_path / "a.jpg").write_bytes(content[: len(content) // 2])
  assert "cut off; get it again" in one_line(reader.read_image, tmp_path / "a.jpg")


def test_pictures_are_turned_upright_put_on_white_and_refused_if_too_small(tmp_path):
  path = tmp_path / "a.png"
  PIL.Image.new("RGBA", (20, 30), (255, 0, 0, 0)).save(path)
  assert (reader.read_image(path) == 255).all()
  PIL.Image.new("I;16", (20, 30), 40_000).save(path)
  assert (reader.read_image(path) == 40_000 >> 8).all()
  image = PIL.Image.new("RGB", (40, 20), "blue")
  exif = image.getexif()
  exif[0x0112] = 6  # a quarter turn
  image.save(tmp_path / "a.jpg", exif=exif)
  assert reader.read_image(tmp_path / "a.jpg").shape == (40, 20, 3)
  PIL.Image.new("RGB", (1, 1)).save(path)
  assert "1x1" in one_line(reader.read_image, path)


def swapped(space):
  """Returns a profile of sRGB with red for blue, said to be of another space."""
  plain = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()
  (red,), (blue,) = re.findall(b"rXYZ(.{8})", plain), re.findall(b"bXYZ(.{8})", plain)
  made = plain.replace(b"rXYZ" + red, b"rXYZ" + blue, 1)
  return made.replace(b"bXYZ" + blue, b"bXYZ" + red, 1).replace(b"RGB ", space, 1)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_colours_are_those_that_the_profile_of_a_picture_tells(tmp_path, mode):
  image, path = PIL.Image.new("RGB", (32, 32), (200, 90, 40)), "a.png"
  image = image.quantize() if mode == "P" else image.convert(mode)
  image.save(tmp_path / path, icc_profile=swapped(b"RGB "))
  np.testing.assert_allclose(
    reader.read_image(tmp_path / path)[0, 0].astype(int), (40, 90, 200), atol=2
  )
  # Without a usable profile, the picture is read as it is.
  for profile in (swapped(b"CMYK"), b"nonsense", swapped(b"RGB ")[:200]):
    image.save(tmp_path / path, icc_profile=profile)
    assert reader.read_image(tmp_path / path)[0, 0].tolist() == [200, 90, 40]


def test_a_colour_that_stands_for_nothing_is_white_beside_a_profile_as_well(tmp_path):
  image, path = PIL.Image.new("RGB", (32, 32), (200, 90, 40)), tmp_path / "a.png"
  image.putpixel((5, 5), (1, 2, 3))
  srgb = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()
  for profile in (None, srgb):
    image.save(path, icc_profile=profile, transparency=(200, 90, 40))
    read = reader.read_image(path)
    assert read[0, 0].tolist() == [255, 255, 255] and read[5, 5].max() < 10


def test_odd_sizes_are_refused_before_anything_is_written(tmp_path):
  path = tmp_path / "a.mp4"
  assert "65x36" in one_line(
    writer.write_video, path, picture(2, 36, 65), 10, None, RATE
  )
  assert "no frames" in one_line(writer.write_video, path, picture(0), 10, None, RATE)
  absent = tmp_path / "no" / "a.mp4"
  assert "its folder" in one_line(writer.write_video, absent, picture(), 10, None, RATE)
  assert not list(tmp_path.iterdir())


def test_ten_minutes_may_be_a_frame_of_sound_longer():
  container.check_length("a.mp3", container.MAX_SECONDS + 0.1)
