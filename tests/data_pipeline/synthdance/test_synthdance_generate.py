"""Clips are written as generated, presets are as documented, bad input is refused."""

import collections
import math
from fractions import Fraction

import numpy as np
import PIL.Image
import pytest

from data_pipeline.aist import ClipName, held_out_dancers, held_out_tracks, split_of
from data_pipeline.media import reader
from data_pipeline.synthdance import generate, presets
from data_pipeline.synthdance.truth import Truth

NAME = ClipName.parse("gLO_sBM_c01_d13_mLO4_ch02")  # 120 bpm: 16 beats in 8 s


def test_a_written_clip_equals_the_generated_one(tmp_path):
  made = generate.make_clip(NAME, seconds=1.5, start_seconds=0.4, frame_size=64)
  path = generate.write_clip(
    NAME, tmp_path, seconds=1.5, start_seconds=0.4, frame_size=64
  )
  assert path == tmp_path / f"{NAME}.mp4"
  video = reader.read_video(path)
  np.testing.assert_allclose(video.times, np.arange(15) / 10, atol=1e-6)
  error = np.abs(video.frames.astype(int) - made.frames).mean()
  assert error < 4.0
  audio = reader.read_audio(path, 44100, mono=False)[: len(made.audio)]
  assert np.corrcoef(audio[:, 0], made.audio[: len(audio), 0])[0, 1] > 0.95
  truth = Truth.load(tmp_path / f"{NAME}.truth.npz")
  np.testing.assert_array_equal(truth.part_map, made.truth.part_map)
  assert sorted(p.name for p in tmp_path.iterdir()) == [
    f"{NAME}.mp4",
    f"{NAME}.truth.npz",
    f"{NAME}.wav",
  ]


def test_beats_are_counted_from_the_first_frame_with_one_beyond_each_end():
  truth = generate.make_clip(NAME, seconds=2.0, start_seconds=0.4, frame_size=32).truth
  np.testing.assert_allclose(truth.beats, [-0.4, 0.1, 0.6, 1.1, 1.6, 2.1])
  on_beat = generate.make_clip(NAME, seconds=1.0, start_seconds=0.5, frame_size=32)
  np.testing.assert_allclose(on_beat.truth.beats, [-0.5, 0.0, 0.5, 1.0], atol=1e-9)


def test_a_dance_of_16_beats_at_120_bpm_has_eight_seconds():
  clip = generate.make_clip(NAME, seconds=8, frame_size=32)
  assert len(clip.frames) == 80
  assert len(clip.audio) == 8 * 44100


def test_a_rational_frame_rate_keeps_exact_times():
  fps = Fraction(60000, 1001)
  clip = generate.make_clip(NAME, fps=fps, seconds=1.0, frame_size=32)
  slow = generate.make_clip(NAME, fps=fps / 6, seconds=1.0, frame_size=32)
  assert len(clip.frames) == 59
  np.testing.assert_array_equal(clip.frames[::6][:9], slow.frames[:9])


@pytest.mark.parametrize(
  ("name", "arguments", "message"),
  [
    ("gLO_sBM_c01_d04_mLO4_ch02", {}, "d04 does not dance LO"),
    ("gLO_sBM_c01_d13_mBR4_ch02", {}, "music mBR4 is not of genre LO"),
    ("gLO_sBM_cAll_d13_mLO4_ch02", {}, "Unknown camera 'cAll'"),
    ("gLO_sXX_c01_d13_mLO4_ch02", {}, "sXX"),
    (str(NAME), {"seconds": 8.2}, "lasts 8.00 s; it has no clip of 8.20 s"),
    (str(NAME), {"start_seconds": -1.0}, "from -1.00 s on"),
    (str(NAME), {"seconds": 0}, "no clip of 0.00 s"),
    (str(NAME), {"framing": "wide", "seconds": 1}, "Unknown framing 'wide'"),
    (str(NAME), {"frame_size": 65, "seconds": 1}, "frame_size=65 must be even"),
    (str(NAME), {"frame_size": 0, "seconds": 1}, "frame_size=0 must be even"),
    (str(NAME), {"fps": -1}, "fps=-1 must be"),
    (str(NAME), {"seconds": math.nan}, "no clip of nan s"),
    (str(NAME), {"start_seconds": math.nan}, "from nan s on"),
    (str(NAME), {"delay_beats": -4}, "delay_beats=-4 must be 0"),
  ],
)
def test_bad_input_is_refused_in_one_line(tmp_path, name, arguments, message):
  with pytest.raises(ValueError, match=message) as caught:
    generate.write_clip(ClipName.parse(name), tmp_path, **arguments)
  assert "\n" not in str(caught.value)
  assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_named(tmp_path):
  with pytest.raises(ValueError, match="nowhere: no such folder"):
    generate.write_clip(NAME, tmp_path / "nowhere", seconds=0.2, frame_size=32)


def _splits(preset):
  """Returns the clips of a preset, and their number per split."""
  specs = presets.clips_of_preset(preset)
  assert len({str(spec.name) for spec in specs}) == len(specs)
  tracks, dancers = held_out_tracks(), held_out_dancers()
  return specs, collections.Counter(
    split_of(spec.name, tracks, dancers) for spec in specs
  )


def test_smoke_has_eight_clips_of_both_splits_at_several_rates():
  specs, splits = _splits("smoke")
  assert splits == {"train": 6, "test": 2}
  rates = collections.Counter(spec.fps for spec in specs)
  assert rates == {10: 6, 20: 1, Fraction(60000, 1001): 1}


def test_demo_is_balanced_and_holds_out_music_together_with_dancers():
  specs, splits = _splits("demo")
  assert splits == {"train": 200, "test": 40}
  assert set(collections.Counter(s.name.genre for s in specs).values()) == {24}
  assert len({s.name.music for s in specs}) == 60
  assert len({s.name.dancer for s in specs}) == 30
  cameras = collections.Counter(s.name.camera for s in specs)
  assert set(cameras) == {"c01", "c02", "c08", "c09"} and cameras["c01"] == 120
  assert all(s.framing == "close" and 7.1 <= s.seconds <= 8 for s in specs)
  assert len({round(s.start_seconds * 1000) for s in specs}) > 150


def test_full_has_the_shape_of_aist():
  specs, splits = _splits("full")
  assert len(specs) == 12_672
  assert len({s.name.sequence for s in specs}) == 1408
  basic = [s for s in specs if s.name.situation == "sBM"]
  assert len(basic) == 9 * 1199
  assert set(splits) == {"train", "test", "test_music", "test_dancer"}


def test_every_clip_of_the_presets_lies_within_its_sequence():
  for preset in ("smoke", "demo", "full"):
    for spec in presets.clips_of_preset(preset):
      beats = 16 if spec.name.situation == "sBM" else 64
      length = beats * 60 / spec.name.bpm
      assert 0 <= spec.start_seconds <= length - spec.seconds + 1e-6, spec


def test_the_error_for_an_unknown_preset_names_the_known_ones():
  with pytest.raises(ValueError, match="'huge'.*'smoke', 'demo', 'medium', 'full'"):
    presets.clips_of_preset("huge")


def test_the_command_writes_a_picture_and_a_song(tmp_path, capsys):
  folder = tmp_path / "new"
  generate.main([f"--name={NAME}", f"--output={folder}", "--seconds=0.5"])
  assert capsys.readouterr().out.strip() == str(folder / f"{NAME}.mp4")
  assert sorted(p.suffix for p in folder.iterdir()) == [".mp4", ".npz", ".png", ".wav"]
  picture = np.array(PIL.Image.open(folder / f"{NAME}.png"))
  clip = generate.make_clip(NAME, seconds=0.5)
  np.testing.assert_array_equal(picture, clip.frames[0])
  song = reader.read_audio(folder / f"{NAME}.wav", 44100, mono=False)
  np.testing.assert_allclose(song, clip.audio, atol=1e-4)


def test_a_wrong_name_is_one_line(tmp_path):
  with pytest.raises(SystemExit, match="^generate: 'gLO_c01' is not an AIST name"):
    generate.main(["--name=gLO_c01", f"--output={tmp_path / 'new'}"])
  assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
  ("argument", "message"),
  [
    ("--fps=1/0", "such as 10 or 60000/1001, not 1/0"),
    ("--fps=ten", "must be a number, such as 10 or 60000/1001, not ten"),
    ("--fps=1000", "argument --fps: must be from 1 to 240, not 1000"),
    ("--seconds=0", "argument --seconds: must be above 0, not 0"),
  ],
)
def test_wrong_usage_is_one_line(tmp_path, capsys, argument, message):
  with pytest.raises(SystemExit) as stopped:
    generate.main([f"--name={NAME}", f"--output={tmp_path / 'new'}", argument])
  assert stopped.value.code == 2
  assert message in capsys.readouterr().err.splitlines()[-1]
  assert not (tmp_path / "new").exists()
