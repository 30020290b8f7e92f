"""A video is written as it is made, in three formats, with a note of its making."""

import os
import subprocess
import sys

import av
import numpy as np
import PIL.Image
import pytest

from data_pipeline.media import reader, writer
from data_pipeline.media.errors import MediaError

RATE, NOTE = 44_100, '{"seed": 1, "beats": "' + 300 * "x" + '"}'


def frames(num=7):
  level = np.linspace(30, 220, num).astype(np.uint8)
  return np.broadcast_to(level[:, None, None, None], (num, 32, 32, 3)).copy()


def sound(num=7):
  time = np.arange(num * RATE // 10) / RATE
  return np.repeat(0.3 * np.sin(2764 * time)[:, None], 2, 1).astype(np.float32)


def write(path, parts=(7,)):
  with writer.open_video(path, 10, RATE, comment=NOTE) as video:
    for last, count in zip(np.cumsum(parts), parts, strict=True):
      part = slice(last - count, last)
      beside = sound()[part.start * RATE // 10 : part.stop * RATE // 10]
      video.write(frames()[part], beside)
  return path


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_a_video_written_in_parts_is_the_one_written_at_once(tmp_path, suffix):
  path = write(tmp_path / f"a{suffix}")
  parts = write(tmp_path / f"b{suffix}", (3, 1, 3))
  assert path.read_bytes() == parts.read_bytes()
  video = reader.read_video(path)
  np.testing.assert_allclose(video.frames, frames(), atol=6)
  np.testing.assert_allclose(video.times, np.arange(7) / 10, atol=1e-3)
  heard = reader.read_audio(path, RATE, mono=False)
  assert abs(len(heard) / RATE - 0.7) < 0.03
  assert np.abs(heard[4410:26460]).max() == pytest.approx(0.3, abs=0.05)
  with av.open(str(path)) as container:
    tags = {key.lower(): value for key, value in container.metadata.items()}
  assert tags["comment"] == NOTE


def test_a_gif_plays_at_the_right_pace_and_keeps_the_note(tmp_path):
  path = write(tmp_path / "a.gif", (4, 3))
  assert path.read_bytes() == write(tmp_path / "b.gif", (4, 3)).read_bytes()
  with PIL.Image.open(path) as image:
    assert image.n_frames == 7 and image.info["duration"] == 100
    for index in range(4):
      image.seek(index)
      shown = np.asarray(image.convert("RGB"))
      np.testing.assert_allclose(shown, frames()[index], atol=8)
  assert NOTE.encode()[:250] in path.read_bytes()
  assert path.read_bytes().endswith(b"\x00;")


def test_a_face_before_a_wall_keeps_its_colours_in_a_gif(tmp_path):
  y, x = np.mgrid[:120, :120] / 120
  wall = np.stack([100 + 40 * x, 110 + 40 * y, 120 + 20 * x * y], axis=-1)
  skin = np.stack([150 + 60 * y, 90 + 80 * x, 60 + 90 * x * y], axis=-1)
  picture, face = wall.astype(np.uint8), np.s_[:24, :24]
  picture[face] = skin[::5, ::5]
  writer.write_video(tmp_path / "a.gif", picture[None], 10, None, RATE)
  with PIL.Image.open(tmp_path / "a.gif") as image:
    shown = np.asarray(image.convert("RGB"), np.float32)
  error = np.abs(shown - picture)[face].mean()
  assert error < 3  # by the median cut 6


def test_what_was_written_is_lost_if_the_block_raises(tmp_path):
  for suffix in writer.SUFFIXES:
    with pytest.raises(RuntimeError):
      with writer.open_video(tmp_path / f"a{suffix}", 10, RATE) as video:
        video.write(frames(), sound())
        raise RuntimeError
  assert not list(tmp_path.iterdir())
  with pytest.raises(MediaError, match="must end in .mp4, .webm, .gif"):
    writer.write_video(tmp_path / "a.avi", frames(), 10, None, RATE)


def test_equal_frames_give_equal_files_whatever_was_in_memory_before(tmp_path):
  code = """
import sys
import numpy as np
from data_pipeline.media.writer import write_video
rng = np.random.default_rng(0)
for width in (64, 144):
  t, y, x, c = np.ogrid[:40, :64, :width, :3]
  waves = np.sin(x / 5 + t / 3 + c) * np.cos(y / 7 - t / 5)
  frames = np.uint8(128 + 90 * waves + 30 * rng.random((40, 64, width, 3)))
  write_video(f"{sys.argv[1]}_{width}.mp4", frames, 10, None, 44_100)
"""
  written = []
  for filling in ("1", "85"):
    path = tmp_path / filling
    environment = {**os.environ, "MALLOC_PERTURB_": filling}
    subprocess.run([sys.executable, "-c", code, path], env=environment, check=True)
    written.append(
      [file.read_bytes() for file in sorted(tmp_path.glob(f"{filling}_*"))]
    )
  assert len(written[0]) == 2
  assert written[0] == written[1]
