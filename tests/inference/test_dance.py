"""A dance is saved, shown in a notebook, and knows its beats."""

import base64
import dataclasses
import json
import re

import numpy as np
import PIL.Image
import pytest

from dabfusion_jax.inference import dance_files
from dabfusion_jax.inference.dance import SAMPLE_RATE, Dance, DanceStream
from dabfusion_jax.inference.pairs import check_output
from dabfusion_jax.pipeline import DancePipeline
from data_pipeline.errors import UserError
from data_pipeline.media import reader


@pytest.fixture
def dance():
  generator = np.random.default_rng(0)
  frames = np.repeat(generator.integers(0, 256, (8, 4, 4, 3), np.uint8), 8, 1)
  audio = 0.1 * np.sin(np.arange(round(0.8 * SAMPLE_RATE)) / 30)
  return Dance(
    np.repeat(frames, 8, 2),
    10.0,
    np.stack([audio, audio], 1).astype(np.float32),
    generator.uniform(-1, 1, (8, 4, 4, 2)).astype(np.float32),
    np.ones((8, 4, 4, 1), np.float32),
    {"beat_times": [-0.4, 0.1, 0.6, 0.8, 1.1], "total_frames": 8, "motion_fps": 10.0},
    ("Beats are <hard> to hear.",),
  )


def test_beats_are_those_within_the_dance(dance):
  np.testing.assert_array_equal(dance.beats, [0.1, 0.6])


def test_dances_and_pipelines_are_shown_without_their_arrays(dance, unchecked_types):
  assert repr(dance) == "<Dance: 8 frames of 32 x 32 pixels, 0.8 s>"
  stage = dict.fromkeys(("stage", "params", "settings"), np.zeros(999))
  shown = repr(DancePipeline(**stage, autoencoder_settings=None, digests={"a": "b"}))
  assert shown.startswith("DancePipeline(digests={'a': 'b'}, encoder_name=None,")
  still = np.zeros((4, 4, 3), np.uint8)
  stream = DanceStream(iter(()), 8, 10.0, dance.settings, ("A note.",), still)
  assert repr(stream) == "DanceStream(num_frames=8, fps=10.0, notes=('A note.',))"


@pytest.mark.parametrize("path", ["gs://bucket/dance.gif", ""])
def test_an_address_is_no_place_to_save(dance, path, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  for save in (dance.save, dance.to_gif):
    with pytest.raises(UserError, match="a place on this machine"):
      save(path)
  assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_made(dance, tmp_path):
  assert all(file.is_file() for file in dance.save(tmp_path / "a" / "b" / "dance.mp4"))
  assert dance.to_gif(tmp_path / "c" / "dance.gif").is_file()
  with pytest.raises(UserError, match="dance.mp4 is a file; name a folder"):
    dance.save(tmp_path / "a" / "b" / "dance.mp4" / "dance.mp4")


@pytest.mark.parametrize("suffix", [".mp4", ".png", ".json"])
def test_saving_spoils_no_input_and_no_file_of_others(dance, tmp_path, suffix):
  mine = tmp_path / f"me{suffix}"
  mine.write_bytes(b"mine")
  for key in ("image", "music", "scene", "beats"):
    made = dataclasses.replace(dance, settings=dance.settings | {key: str(mine)})
    with pytest.raises(UserError, match=rf"would overwrite .*me{suffix}.*; choose"):
      made.save(tmp_path / "me.mp4")
  with pytest.raises(UserError, match=rf"would overwrite .*me{suffix}"):
    dance.save(tmp_path / "me.mp4")
  assert mine.read_bytes() == b"mine"
  for _ in range(2):  # the second time over the first
    dance.save(tmp_path / "dance.mp4")


def test_what_was_made_of_a_stream_is_not_saved_or_collected_as_a_whole(
  dance, tmp_path
):
  part = dance_files.Part(dance.frames[:4], *[dance.flow[:4]] * 2, dance.audio[:17640])
  still = dance.frames[0]
  make = lambda: DanceStream(iter([part]), 8, 10.0, dance.settings, (), still)
  with pytest.raises(UserError, match="made once"):
    make().collect()
  with pytest.raises(UserError, match="made once"):
    make().save(tmp_path / "dance.mp4")
  assert not list(tmp_path.iterdir())


def test_a_notebook_plays_the_video_with_its_sound(dance, tmp_path):
  shown = dance._repr_html_()
  data = re.search(r'src="data:video/mp4;base64,([^"]+)"', shown)[1]
  file = tmp_path / "shown.mp4"
  file.write_bytes(base64.b64decode(data))
  assert reader.read_video(file).frames.shape == dance.frames.shape
  assert np.abs(reader.read_audio(file, SAMPLE_RATE)).max() > 0.05
  assert "&lt;hard&gt;" in shown and "controls" in shown


def test_a_gif_has_all_frames_at_their_pace_and_repeats(dance, tmp_path):
  path = dance.to_gif(tmp_path / "dance.gif")
  with PIL.Image.open(path) as image:
    assert image.n_frames == len(dance.frames)
    assert image.info["duration"] == 100 and image.info["loop"] == 0
  with pytest.raises(UserError, match="must end in .gif"):
    dance.to_gif(tmp_path / "dance.mp4")
  of_it = dataclasses.replace(dance, settings=dance.settings | {"image": str(path)})
  with pytest.raises(UserError, match="would overwrite an input"):
    of_it.to_gif(path)


@pytest.mark.parametrize(("recipe", "left"), [("a", 6), ("b", 2)])
def test_a_second_ctrl_c_leaves_more_of_the_same_dance(dance, tmp_path, recipe, left):
  def begin(recipe, number):
    def parts():
      a, b = slice(number), slice(4410 * number)
      flow = dance.flow[a]
      yield dance_files.Part(dance.frames[a], flow, dance.occlusion[a], dance.audio[b])
      raise KeyboardInterrupt

    settings = dance.settings | {"recipe": recipe}
    stream = DanceStream(parts(), 8, 10.0, settings, (), dance.frames[0])
    with pytest.raises(KeyboardInterrupt, match=f"first 0.{max(number, left)} s"):
      stream.save(tmp_path / "dance.mp4")

  begin("a", 6) if left == 6 else dance.save(tmp_path / "dance.mp4")
  begin(recipe, 2)
  assert len(reader.read_video(tmp_path / "dance.mp4").frames) == left
  assert json.loads((tmp_path / "dance.json").read_text())["total_frames"] == left


def test_a_dance_of_more_frames_than_its_motion(dance, tmp_path):
  smooth = dataclasses.replace(dance, frames=np.repeat(dance.frames, 3, 0), fps=30.0)
  assert smooth.motion_fps == dance.motion_fps == 10
  np.testing.assert_array_equal(smooth.beats, dance.beats)
  with PIL.Image.open(smooth.to_gif(tmp_path / "dance.gif")) as image:
    assert image.n_frames == len(dance.frames)
    assert image.info["duration"] == 100
  settings = dance.settings | {"total_frames": 24, "fps": 30.0}
  smooth = dataclasses.replace(smooth, settings=settings)
  video = smooth.save(tmp_path / "dance.mp4")[0]
  assert len(reader.read_video(video).frames) == 24
  video, _, told = smooth.save(tmp_path / "thin.gif")
  with PIL.Image.open(video) as image:
    assert image.n_frames == len(dance.frames)
  told = json.loads(told.read_text())
  assert (told["total_frames"], told["fps"]) == (8, 10)


def test_the_contact_sheet_of_large_frames_is_smaller_than_they_are(dance, tmp_path):
  frames = np.repeat(np.repeat(dance.frames[:, :30], 10, 1), 16, 2)  # 300 x 512
  left = tmp_path / ".abc_1234.dance.png"  # by a process that was killed
  left.touch()
  dataclasses.replace(dance, frames=frames).save(tmp_path / "dance.mp4")
  assert not left.exists()
  with PIL.Image.open(tmp_path / "dance.png") as image:
    assert image.size == (10 * 256, 150)


def test_a_dance_whose_settings_met_a_full_disk_is_made_again_by_the_same_command(
  dance, small_disk
):
  path = small_disk / "dance.mp4"
  dance.save(path)
  sizes = [small_disk / f"dance.{suffix}" for suffix in ("mp4", "json")]
  pages = sum(-(-file.stat().st_size // 4096) for file in sizes)
  for file in small_disk.iterdir():
    file.unlink()
  (small_disk / "rest").write_bytes(bytes(4096 * (16 - pages)))
  with pytest.raises(OSError, match="No space left") as error:
    dance.save(path)
  assert error.value.filename == str(small_disk / "dance.json")  # written anew
  (small_disk / "rest").unlink()
  check_output(path)
  dance.save(path)
