"""The person is found by motion in a video, and before a plain wall in a picture."""

import numpy as np
import pytest
from clip_examples import RATE, click_song

from data_pipeline.cutting import ingest
from data_pipeline.cutting.ingest import ClipFormat
from data_pipeline.cutting.person import crop_on_person, crop_picture
from data_pipeline.cutting.windows import Windows
from data_pipeline.media import framing, writer
from data_pipeline.music.encoders import make_encoder
from data_pipeline.sources.base import SourceVideo, VideoFile


def make_room(height=48, width=144, num=20, seed=0):
  """Returns a room that does not move."""
  still = np.random.default_rng(seed).integers(60, 200, (height, width, 3), np.uint8)
  return np.repeat(still[None], num, axis=0)


def draw_dancer(frames, at, low=10, reach=4):
  """Draws a dark figure that sways by `reach` around a column."""
  for i, frame in enumerate(frames):
    x = at + round(reach * np.sin(0.9 * i))
    frame[low : low + 30, x - 5 : x + 5] = 10
  return frames


IDENTITY = framing.Transform((1.0, 1.0), (0.0, 0.0))


@pytest.mark.parametrize("at", [12, 40, 80, 132])
@pytest.mark.parametrize("is_tall", [False, True])
def test_the_square_is_around_what_moves(at, is_tall):
  frames = draw_dancer(make_room(), at)
  if is_tall:
    frames = frames.swapaxes(1, 2)
  square, transform = crop_on_person(frames, IDENTITY)
  assert square.shape == (20, 48, 48, 3)
  person = np.array([[25.0, at]] if is_tall else [[at, 25.0]])
  x, y = transform(person)[0]
  along = y if is_tall else x
  wanted = min(max(at - (144 - 48), 24), at) if at > 120 else min(at, 24)
  assert abs(along - wanted) <= 5
  # The transform maps the pixels of the video to those of the square.
  x0, y0 = (-np.asarray(transform.offset)).astype(int)
  np.testing.assert_array_equal(square, frames[:, y0 : y0 + 48, x0 : x0 + 48])


def test_a_passer_by_hardly_moves_the_square():
  frames = draw_dancer(make_room(), 40)
  frames[7:9, 20:30, 138:144] = 10
  _, transform = crop_on_person(frames, IDENTITY)
  assert abs(transform(np.array([[40.0, 20.0]]))[0, 0] - 24) <= 6


@pytest.mark.parametrize("kind", ["still", "noise", "camera"])
def test_the_middle_is_kept_if_nobody_is_found(kind):
  frames = make_room()
  if kind == "noise":
    noise = np.random.default_rng(1).integers(-9, 10, frames.shape)
    frames = (frames + noise).astype(np.uint8)
  elif kind == "camera":
    frames = np.stack([np.roll(f, 3 * i, axis=1) for i, f in enumerate(frames)])
    frames = draw_dancer(frames, 20)
  _, transform = crop_on_person(frames, IDENTITY)
  assert transform.offset == (-48.0, 0.0)


@pytest.mark.parametrize(
  "height, width, out",
  [(48, 144, (16, 48)), (30, 24, (20, 16)), (20, 400, (16, 48)), (400, 20, (48, 16))],
)
def test_the_short_side_fits_and_points_follow(height, width, out):
  frames = np.zeros((1, height, width, 3), np.uint8)
  y, x = height // 2 - 3, width // 2 + 2
  frames[0, y : y + 4, x : x + 4] = 255
  small, transform = framing.fit_short_side(frames, 16)
  assert small.shape[1:3] == out
  rows, columns = np.nonzero(small[0, ..., 0] > 60)
  middle = transform(np.array([[x + 1.5, y + 1.5]]))[0]
  np.testing.assert_allclose(middle, [columns.mean(), rows.mean()], atol=0.6)


def test_each_clip_is_centred_separately(tmp_path):
  left, right = (draw_dancer(make_room(), at) for at in (30, 110))
  frames = np.concatenate([left, right])
  path = tmp_path / "a.mp4"
  writer.write_video(path, frames, 10, click_song()[: 4 * RATE], RATE)
  video = SourceVideo("a", "train", "a", 0.0)
  form = ClipFormat(20, 10, 24, framing="person")
  first, second = ingest.cut_clips(
    video,
    VideoFile(path),
    np.arange(4.0),
    form,
    make_encoder("spectral"),
    Windows("strided", 2.0),
  ).records
  for record in (first, second):
    dark = (record["frames"].max(axis=-1) < 40).sum(axis=(0, 1))
    assert abs(np.average(np.arange(24), weights=dark) - 11.5) < 2.5


def make_studio(height, width, at):
  """Returns an unevenly lit wall, a floor, and a person in three colours."""
  light = np.linspace(190, 220, width)[None, :, None] * np.ones((height, 1, 3))
  light[-height // 4 :] -= 40
  light += np.random.default_rng(0).normal(0, 3, light.shape)
  image = np.uint8(light)
  for part, colour in enumerate(((90, 60, 50), (200, 30, 30), (20, 20, 60))):
    top = height // 5 + part * height // 5
    image[top : top + height // 5, at - height // 12 : at + height // 12] = colour
  return image


@pytest.mark.parametrize("at", [20, 100, 160, 236])
def test_a_picture_is_cropped_around_the_person_before_the_wall(at):
  square = crop_picture(make_studio(144, 256, at), 48)
  person = np.abs(square.astype(int) - [200, 30, 30]).max(axis=-1) < 30
  expected = min(max(at / 3, 0) - min(max(at / 3 - 24, 0), 256 / 3 - 48), 48)
  assert abs(np.nonzero(person)[1].mean() - expected) < 2


def test_a_picture_without_a_plain_wall_is_left_to_the_caller():
  noise = np.random.default_rng(0).integers(0, 256, (144, 256, 3), np.uint8)
  assert crop_picture(noise, 48) is None
  empty = np.full((144, 256, 3), 200, np.uint8)
  assert crop_picture(empty, 48) is None
  # In a nearly square picture there is nothing to choose.
  assert crop_picture(noise[:, :150], 48).shape == (48, 48, 3)
