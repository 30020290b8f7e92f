"""Inspecting a data set shows its counts, its clips and their beats."""

import numpy as np
import pytest
from clip_examples import make_record

from data_pipeline import inspect
from data_pipeline.media import reader

RATE = 22050


def test_beats_are_clicks_and_flashes():
  frames = np.full((20, 64, 64, 3), 100, np.uint8)
  beats = np.array([-0.2, 0.31, 1.5, 2.2])
  marked, sound = inspect.mark_beats(
    frames, np.zeros(2 * RATE, np.float32), beats, 10.0, RATE
  )
  assert marked.shape == (20, 256, 256, 3)
  flashes = np.flatnonzero(marked[:, 0, 0, 0] == 255)
  np.testing.assert_array_equal(flashes, [3, 15])
  assert (marked[3, -1, -1] == 255).all() and (marked[3, 128, 128] == 100).all()
  loud = np.flatnonzero(np.abs(sound) > 0.1) / RATE
  assert abs(loud[0] - 0.31) < 0.002 and abs(loud[loud > 1][0] - 1.5) < 0.002
  assert loud.max() < 1.53
  assert (frames == 100).all()


@pytest.mark.parametrize("size, shown", [(32, 256), (257, 258)])
def test_a_clip_becomes_a_video_with_a_click_on_the_beat(tmp_path, size, shown):
  clip = make_record(size=size, num_frames=10)
  clip |= {"audio": np.zeros(RATE, np.int16)}
  path = inspect.write_clip(clip, np.array([0.5]), tmp_path)
  video = reader.read_video(path)
  assert video.frames.shape == (10, shown, shown, 3)
  audio = reader.read_audio(path, RATE)
  assert abs(np.abs(audio).argmax() / RATE - 0.5) < 0.01


def test_settings_and_counts_are_described():
  manifest = {
    "settings": {"num_frames": 40, "fps": 10, "frame_size": 64, "framing": "crop"},
    "beats": ["librosa"],
    "counts": {"train": {"clips": 3, "genre": {"BR": 2, "": 1}}},
    "report": {"broken": 2},
  }
  manifest["settings"]["encoder"] = {"name": "spectral"}
  text = inspect.describe(manifest)
  expected = ("train: 3 clips, 0.2 minutes", "genre: BR 2, unknown 1", "2 broken")
  assert all(part in text for part in (*expected, "40 frames"))
  manifest["counts"]["train"]["track"] = {f"song{i}": 1 for i in range(100)}
  assert "song29 1, and 70 more" in inspect.describe(manifest)


def test_the_sheet_has_a_row_for_each_clip():
  sheet = inspect.make_sheet([make_record(seed) for seed in range(3)], columns=4)
  assert sheet.shape == (3 * (14 + 16), 64, 3)
  np.testing.assert_array_equal(sheet[44:60, :16], make_record(1)["frames"][0])
  assert len({sheet[i : i + 14].tobytes() for i in (0, 30, 60)}) == 3  # their names


def test_a_missing_data_set_is_one_line(tmp_path):
  with pytest.raises(SystemExit, match="contains no finished data set") as error:
    inspect.main([str(tmp_path)])
  assert "\n" not in str(error.value)
