"""Odd clips are measured as far as they can be, and refused or counted otherwise."""

from fractions import Fraction

import clip_folders
import numpy as np
import pytest
from evaluations import ALL_BUT_NETWORKS, QUICK, evaluate_folders, write_folders

from dabfusion_jax.evaluation.reading import clips
from dabfusion_jax.evaluation.reading.features import Reading
from dabfusion_jax.evaluation.scoring import baselines
from dabfusion_jax.metrics import alignment
from data_pipeline.media import writer
from data_pipeline.music.onsets import LATE_SECONDS


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
  return write_folders(tmp_path_factory.mktemp("folders"))


def test_clips_without_a_partner_have_unpaired_metrics_only(folders, tmp_path):
  for i in range(3):
    arrays = {"frames": clip_folders.make_frames(i), "fps": 10}
    clips.write_arrays(tmp_path / f"video{i}.npz", arrays)
  result, _ = evaluate_folders(tmp_path, folders / "real", tmp_path / "cache")
  rows = result["summary"]["all"]
  assert rows["psnr"]["reasons"] == {"no_reference": 3}
  assert rows["speed"]["n"] == 3 and result["protocol"]["num_paired"] == 0
  assert rows["av_align"]["reasons"] == {"no_sound": 3}


def test_edge_cases_are_counted_not_averaged(folders, tmp_path):
  name, real = clip_folders.name_of, folders / "real"
  frames = clip_folders.make_frames(0)
  silence = np.zeros(int(2.4 * clip_folders.RATE), np.int16)
  sound = {"audio": silence, "sample_rate": clip_folders.RATE}
  black = {"frames": np.zeros_like(frames), "fps": 10}
  clips.write_arrays(tmp_path / f"{name(0)}.npz", {"frames": frames, "fps": 10})
  clips.write_arrays(tmp_path / f"{name(1)}.npz", black)
  clips.write_arrays(tmp_path / f"{name(2)}.npz", {"frames": frames[:1], "fps": 10})
  clips.write_arrays(tmp_path / f"{name(3)}.npz", {"frames": frames[:20], "fps": 10})
  clips.write_arrays(tmp_path / "quiet.npz", {"frames": frames, "fps": 10} | sound)
  nan = {"frames": np.full(frames.shape, np.nan, np.float32), "fps": 10}
  clips.write_arrays(tmp_path / "nan.npz", nan)
  result, measured = evaluate_folders(tmp_path, real, tmp_path / "cache", QUICK)
  rows = result["summary"]["all"]
  assert list(result["failures"]["samples"]) == ["nan"]
  assert rows["psnr"]["n"] == 2 and rows["psnr"]["n_undefined"] == 3
  assert rows["psnr"]["reasons"] == {"length_differs": 2, "no_reference": 1}
  assert rows["speed"]["reasons"] == {"too_short": 1}
  of = dict(zip(measured.names, measured.scores["sample"], strict=True))
  assert of["quiet"]["beat_alignment"] == (None, "no_music_beat")
  assert of["quiet"]["av_align"].value == 0.0  # motion, no onset
  assert of[name(1)]["beat_alignment"] == (0.0, "no_kinematic_beat")
  assert of[name(2)]["av_align"] == (None, "too_short")


def test_a_clip_without_sound_but_with_known_beats_is_not_silent(tmp_path):
  """AV-Align of a clip without its sound is undefined, not 0."""
  beats = {"beat_times": np.arange(-1, 6) * 0.5, "fps": 10}
  for i in range(2):
    arrays = {"frames": clip_folders.make_frames(i)} | beats
    (tmp_path / "a").mkdir(exist_ok=True)
    clips.write_arrays(tmp_path / "a" / f"{clip_folders.name_of(i)}.npz", arrays)
  folder = tmp_path / "a"
  result, _ = evaluate_folders(folder, folder, tmp_path / "cache", ("alignment",))
  rows = result["summary"]["all"]
  assert rows["av_align"]["reasons"] == {"no_sound": 2}
  assert rows["clip_score"]["reasons"] == {"no_sound": 2}
  assert rows["beat_alignment"]["n"] == 2


def test_different_sizes_or_rates_are_refused_with_the_option_that_helps(
  folders, tmp_path
):
  clip_folders.write_folder(tmp_path / "small", 2, size=16)
  with pytest.raises(clips.ClipError, match=r"16x16 pixels.*--frame_size"):
    evaluate_folders(tmp_path / "small", folders / "real", tmp_path / "cache")
  result, _ = evaluate_folders(
    tmp_path / "small",
    folders / "real",
    tmp_path / "cache",
    ("paired",),
    reading=Reading(frame_size=24),
  )
  assert result["protocol"]["width"] == 24
  (tmp_path / "fast").mkdir()
  frames = clip_folders.make_frames(0, size=16)
  clips.write_arrays(tmp_path / "fast" / "a.npz", {"frames": frames, "fps": 30})
  with pytest.raises(clips.ClipError, match=r"30.0 fps.*--fps.*16x16.*--frame_size"):
    evaluate_folders(tmp_path / "fast", folders / "real", tmp_path / "cache")


def test_the_length_that_is_reported_is_that_of_the_samples(tmp_path):
  clip_folders.write_folder(tmp_path / "real", 6, num_frames=30)
  ours = clip_folders.write_folder(tmp_path / "ours", 2, num_frames=20)
  result, _ = evaluate_folders(ours, tmp_path / "real", tmp_path / "c", ("motion",))
  assert result["protocol"]["num_frames"] == 20


def test_clips_of_odd_size_can_be_measured(tmp_path):
  clip_folders.write_folder(tmp_path / "a", 2, size=33)
  result, _ = evaluate_folders(
    tmp_path / "a", tmp_path / "a", tmp_path / "c", ALL_BUT_NETWORKS
  )
  ssim = result["summary"]["all"]["ssim"]
  assert ssim["n"] == ssim["nulls"]["codec"]["n"] == 2


def _write_heard(path, num_frames, seconds=0.0, period=0.5, index=0):
  """Writes a clip with that much sound, of clicks; 0: without."""
  path.parent.mkdir(exist_ok=True)
  arrays = {"frames": clip_folders.make_frames(index, num_frames), "fps": 10}
  if seconds:
    sound = np.int16(clip_folders.clicks(seconds, period) * 9000)
    arrays |= {"audio": sound, "sample_rate": clip_folders.RATE}
  clips.write_arrays(path, arrays)


def test_sound_of_the_other_clip_is_cut_to_the_motion_or_too_short_for_it(tmp_path):
  for part, num_frames, seconds in (
    ("real", 40, 4.0),
    ("own", 20, 2.0),
    ("silent", 20, 0),
    ("longer", 60, 0),
  ):
    for i in range(2):
      _write_heard(tmp_path / part / f"{i}.npz", num_frames, seconds, index=i)
  scores = {}
  for part in ("own", "silent", "longer"):
    _, measured = evaluate_folders(tmp_path / part, tmp_path / "real", tmp_path / ".c")
    scores[part] = [row["av_align"] for row in measured.scores["sample"]]
    real = [row["av_align"] for row in measured.scores["real"]]
    assert scores.setdefault("real", real) == real
  assert scores["silent"] == scores["own"] and scores["own"] != scores["real"]
  assert [score.reason for score in scores["longer"]] == ["length_differs"] * 2


def test_real_clips_are_measured_with_their_own_sound(tmp_path):
  for i in range(3):
    _write_heard(tmp_path / "real" / f"{i}.npz", 24, 2.4, index=i)
    _write_heard(tmp_path / "other song" / f"{i}.npz", 24, 2.4, 0.35, index=i)
  scores = []
  for part in ("real", "other song"):
    _, measured = evaluate_folders(tmp_path / part, tmp_path / "real", tmp_path / ".c")
    own, real = (
      [row["av_align"] for row in measured.scores[kind]] for kind in ("sample", "real")
    )
    assert (own == real) == (part == "real")
    scores.append(measured.scores["real"])
  assert scores[0] == scores[1]


def test_music_of_the_same_sound_is_no_other_music(tmp_path):
  for i in range(4):  # of two songs, and then of one
    for part, period in (("two", 0.5 if i < 2 else 0.35), ("one", 0.5)):
      _write_heard(tmp_path / part / f"{i}.npz", 24, 2.4, period, index=i)
  for part, has_null in (("two", True), ("one", False)):
    _write_heard(tmp_path / part / "silent.npz", 24, 2.4, 9.9)
    silent = dict(np.load(tmp_path / part / "silent.npz"))
    silent["audio"] *= 0
    clips.write_arrays(tmp_path / part / "silent.npz", silent)
    _, measured = evaluate_folders(tmp_path / part, None, tmp_path / ".c")
    assert ("shuffled" in measured.scores) == has_null


def test_songs_of_one_tempo_are_different_and_a_late_copy_is_not():
  rng = np.random.default_rng(0)
  hits = lambda: np.repeat(rng.random(24), 6) * np.tile([1, 0.5, 0.2, 0, 0, 0], 24)
  songs = [np.float32(hits()) for _ in range(5)]
  noisy = songs[1] + np.float32(0.02 * rng.standard_normal(144))
  sounds = [*songs, np.roll(noisy, 2), np.zeros(144, np.float32), songs[3][:140]]
  assert baselines.first_alike(sounds) == [0, 1, 2, 3, 4, 1, 6, 3]
  assert baselines.first_alike([songs[0][:3]] * 2) == [0, 1]  # too short to tell
  assert baselines.first_alike([]) == []


def test_a_single_clip_has_no_noise_and_no_other_music(tmp_path):
  clip_folders.write_folder(tmp_path / "a", 1)
  result, _ = evaluate_folders(tmp_path / "a", tmp_path / "a", tmp_path / "c", QUICK)
  rows = result["summary"]["all"]
  assert "noise unknown" in rows["psnr"]["words"]
  assert rows["av_align"]["words"].startswith("no null")


def test_clips_of_unequal_lengths_have_no_other_music(tmp_path):
  for i, num_frames in enumerate((20, 40)):
    clip_folders.write_folder(tmp_path / f"{i}", 4, num_frames=num_frames)
    for path in (tmp_path / f"{i}").iterdir():
      path.rename(tmp_path / f"{i} {path.name}")
    (tmp_path / f"{i}").rmdir()
  result, measured = evaluate_folders(tmp_path, tmp_path, tmp_path / ".c", QUICK)
  row = result["summary"]["all"]["av_align"]
  assert row["words"].startswith("no null: the clips differ in length")
  assert "shuffled" not in row["nulls"] and row["n"] == 8


def test_chance_is_that_of_the_beats_that_score_whatever_the_track(tmp_path):
  for name, period in (("a", 0.5), ("b", 0.8)):
    beats = np.arange(-1, 8) * period
    arrays = {"frames": clip_folders.make_frames(0, 40), "fps": 10, "beat_times": beats}
    (tmp_path / name).mkdir()
    clips.write_arrays(tmp_path / name / "gBR_sBM_c01_d04_mBR0_ch01.npz", arrays)
    _, measured = evaluate_folders(
      tmp_path / name, tmp_path / name, tmp_path / ".c", ("alignment",)
    )
    chance = measured.scores["chance"][0]["beat_alignment"].value
    assert np.isclose(chance, alignment.chance_level(period))


def test_tracked_beats_are_corrected_by_what_is_given_and_true_ones_are_not(tmp_path):
  beats = np.arange(-1, 6) * 0.5
  for key in ("beat_times", "true_beat_times"):
    folder = tmp_path / key
    folder.mkdir()
    for i in range(2):
      arrays = {"frames": clip_folders.make_frames(i), "fps": 10, key: beats}
      clips.write_arrays(folder / f"{clip_folders.name_of(i)}.npz", arrays)

  def evaluate_late(key, seconds):
    folder, cache = tmp_path / key, tmp_path / "cache"
    result, measured = evaluate_folders(
      folder, folder, cache, ("alignment",), beats_late_seconds=seconds
    )
    assert result["protocol"]["music_events"]["beats_late_seconds"] == seconds
    return measured.events[0].beats

  np.testing.assert_array_equal(evaluate_late("beat_times", LATE_SECONDS), beats)
  uncorrected = evaluate_late("beat_times", 0.0)
  np.testing.assert_allclose(uncorrected, beats + LATE_SECONDS)
  np.testing.assert_array_equal(evaluate_late("true_beat_times", 0.0), beats)


@pytest.mark.parametrize("rate", [Fraction(30), Fraction(30_000, 1001)])
def test_a_webm_has_the_rate_of_an_mp4_although_its_stamps_are_rounded(tmp_path, rate):
  frames = clip_folders.make_frames(0, num_frames=20)
  for folder, name in (("ours", "a.webm"), ("real", "a.mp4")):
    (tmp_path / folder).mkdir()
    writer.write_video(tmp_path / folder / name, frames, rate, None, 44_100)
  folders = [tmp_path / name for name in ("ours", "real", "cache")]
  result, _ = evaluate_folders(*folders, ("paired",))
  assert result["summary"]["all"]["psnr"]["n"] == 1
  assert result["protocol"]["fps"] == pytest.approx(float(rate), abs=0.02)


def test_two_frames_of_24_and_25_fps_are_not_of_one_rate(tmp_path):
  for folder, rate in (("ours", 24), ("real", 25)):
    (tmp_path / folder).mkdir()
    arrays = {"frames": clip_folders.make_frames(0, num_frames=2), "fps": rate}
    clips.write_arrays(tmp_path / folder / "a.npz", arrays)
  folders = [tmp_path / name for name in ("ours", "real", "cache")]
  with pytest.raises(clips.ClipError, match="references/a has 25.0 fps, samples/a has"):
    evaluate_folders(*folders, ("paired",))
