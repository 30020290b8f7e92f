"""Alignment scores: chance levels, presets, exact event rules."""

import numpy as np
import pytest

from dabfusion_jax.metrics import alignment
from dabfusion_jax.metrics.alignment import Score, beat_alignment

EMPTY = np.zeros(0)
AIST_BPM = [80 + 10 * i for i in range(6)] * 9 + [110 + 5 * i for i in range(6)]


def test_formula_by_hand():
  score = beat_alignment(np.array([1.0, 2.1]), np.array([2.0, 1.0]), sigma=0.1)
  np.testing.assert_allclose(score.value, (1 + np.exp(-0.5)) / 2)
  assert score.reason is None


def test_score_is_the_same_in_every_unit():
  motion, music = np.array([0.31, 1.02, 2.2]), np.array([0.3, 0.8, 1.3, 1.8, 2.3])
  seconds = beat_alignment(motion, music, 0.05).value
  for fps in (10, 60):
    frames = beat_alignment(motion * fps, music * fps, 0.05 * fps).value
    np.testing.assert_allclose(frames, seconds, rtol=1e-9)


def test_order_does_not_matter_and_repetitions_count():
  motion, music = np.array([0.3, 1.0]), np.array([0.3, 1.1])
  base = beat_alignment(motion, music, 0.05)
  assert beat_alignment(motion[::-1], music[::-1], 0.05).value == base.value
  twice = beat_alignment(np.array([0.3, 0.3, 1.0]), music, 0.05)
  np.testing.assert_allclose(twice.value, (2 + base.value * 2 - 1) / 3)


def test_empty_lists():
  beats = np.array([1.0])
  assert beat_alignment(EMPTY, beats, 0.05) == Score(0.0, "no_kinematic_beat")
  assert beat_alignment(EMPTY, EMPTY, 0.05) == Score(0.0, "no_kinematic_beat")
  assert beat_alignment(beats, EMPTY, 0.05) == Score(None, "no_music_beat")


def test_far_beat_scores_about_zero():
  assert beat_alignment(np.array([0.0]), np.array([1.0]), 0.05).value < 1e-9


@pytest.mark.parametrize(
  ("sigma", "wanted"), [(0.05, 0.2230), (0.1, 0.442), (0.3, 0.863)]
)
def test_chance_level_over_the_aist_tracks(sigma, wanted):
  levels = [alignment.chance_level(60 / bpm, sigma) for bpm in AIST_BPM]
  np.testing.assert_allclose(np.mean(levels), wanted, atol=5e-4)


@pytest.mark.parametrize(("bpm", "wanted"), [(80, 0.167), (110, 0.230), (135, 0.282)])
def test_chance_level_of_a_tempo(bpm, wanted):
  np.testing.assert_allclose(alignment.chance_level(60 / bpm), wanted, atol=5e-4)


def test_random_motion_scores_at_chance_level():
  rng = np.random.default_rng(0)
  music = np.arange(-1, 100) * 0.5
  score = beat_alignment(rng.uniform(0, 49, 20_000), music, 0.05).value
  np.testing.assert_allclose(score, alignment.chance_level(0.5), atol=0.01)


def dance(fps, seconds=8.0, period=0.5, num_joints=3):
  """Joints that swing and pause at every multiple of `period`."""
  time = np.arange(round(seconds * fps)) / fps
  swing = 10 * np.cos(np.pi * time / period)
  joints = np.repeat(swing[:, None, None], num_joints, 1) * [1.0, 0.5]
  return joints, np.ones(joints.shape[:2], bool)


def test_dancing_on_the_beat_beats_half_a_beat_off():
  joints, visible = dance(fps=60)
  music = np.arange(-1, 18) * 0.5
  on = alignment.mm_align(joints, visible, music, fps=60)
  off = alignment.mm_align(joints, visible, music + 0.25, fps=60)
  assert on.value > 0.95 and off.value < 0.01


def test_frozen_video_scores_zero_whatever_the_music():
  joints, visible = np.ones((40, 13, 2)), np.ones((40, 13), bool)
  for music in (np.arange(4.0), EMPTY):
    assert alignment.mm_align(joints, visible, music, fps=10) == Score(
      0.0, "no_kinematic_beat"
    )


def test_missing_poses_come_before_all_other_cases():
  joints, visible = dance(fps=10, seconds=4)
  visible[:7] = False  # 17.5 %
  for music in (np.arange(4.0), EMPTY):
    score = alignment.mm_align(joints, visible, music, fps=10)
    assert score == Score(None, "pose_missing")
  visible[0] = True  # 15 %
  assert alignment.mm_align(joints, visible, np.arange(4.0), 10).reason is None
  assert alignment.mm_align(joints, visible, EMPTY, 10) == Score(None, "no_music_beat")


def test_mint_silences_ten_frames_and_takes_the_later_frame():
  joints, visible = dance(fps=60)
  # Steps around a pause are equal; a small drift makes the earlier one smaller.
  joints += np.arange(len(joints))[:, None, None] ** 2 * 1e-5
  beats = alignment._mint_beats(joints)
  assert beats[0] > 10 and len(beats) >= 13
  assert set((beats % 30).round()) <= {0, 1}
  score = alignment.mm_align(joints, visible, beats / 60, fps=60, preset="mint")
  assert score.value == 1.0


def moving_at(speed):
  """One joint whose step i has the given length."""
  position = np.concatenate([[0.0], np.cumsum(speed)])
  return position[:, None, None] * [1.0, 0.0]


def test_mint_keeps_the_lowest_pause_within_ten_frames():
  speed = np.full(60, 3.0) + np.arange(60) * 1e-3
  speed[20], speed[27], speed[45] = 1.0, 2.0, 2.0
  np.testing.assert_array_equal(alignment._mint_beats(moving_at(speed)), [21, 46])


def test_bailando_smooths_a_ripple_away_and_takes_the_earlier_frame():
  frame = np.arange(120)
  slow = 3 + np.cos(2 * np.pi * frame / 60)
  joints = moving_at(slow + 0.3 * np.cos(2 * np.pi * frame / 4))
  np.testing.assert_allclose(alignment._bailando_beats(joints), [30, 90], atol=1)


def test_bailando_averages_over_music_beats():
  joints, visible = dance(fps=60, period=1.0)
  joints += np.arange(len(joints))[:, None, None] ** 2 * 1e-5
  beats = alignment._bailando_beats(joints)
  on = alignment.mm_align(joints, visible, beats / 60, fps=60, preset="bailando")
  assert on.value == 1.0
  more_music = np.concatenate([beats, beats + 30]) / 60
  half = alignment.mm_align(joints, visible, more_music, fps=60, preset="bailando")
  np.testing.assert_allclose(half.value, 0.5, atol=0.01)
  frozen = np.ones_like(joints)
  got = alignment.mm_align(frozen, visible, beats / 60, fps=60, preset="bailando")
  assert got == Score(None, "no_kinematic_beat")


def test_bailando_asks_nothing_of_music_beyond_the_clip():
  """The other presets look for the nearest beat; here each beat counts itself."""
  joints, visible = dance(fps=60, period=1.0)
  joints += np.arange(len(joints))[:, None, None] ** 2 * 1e-5
  beats = alignment._bailando_beats(joints) / 60
  wide = np.concatenate([[-0.5], beats, [len(joints) / 60 + 0.1]])
  on = alignment.mm_align(joints, visible, wide, fps=60, preset="bailando")
  assert on.value == 1.0
  # The last frame begins no step, and a motion beat is the frame at which one begins.
  for outside in (-0.5, (len(joints) - 1) / 60):
    music = np.array([outside])
    score = alignment.mm_align(joints, visible, music, fps=60, preset="bailando")
    assert score == Score(None, "no_music_beat")


@pytest.mark.parametrize("preset", ["mint", "bailando"])
def test_frame_presets_warn_off_sixty_fps_and_need_all_poses(preset):
  joints, visible = dance(fps=10)
  with pytest.warns(UserWarning, match="60 fps"):
    alignment.mm_align(joints, visible, np.arange(4.0), fps=10, preset=preset)
  visible[3, 2] = False  # one joint, which would be taken to be at (0, 0)
  assert alignment.mm_align(
    joints, visible, np.arange(4.0), fps=10, preset=preset
  ) == Score(None, "pose_missing")


def test_unknown_names_are_refused():
  joints, visible = dance(fps=60)
  with pytest.raises(ValueError, match="mint"):
    alignment.mm_align(joints, visible, np.arange(4.0), fps=60, preset="edge")
  with pytest.raises(ValueError, match="1 or 2"):
    alignment.av_align(EMPTY, np.ones(3), fps=10, version=3)


def test_version_1_exceeds_one_and_version_2_does_not():
  onsets, peaks = np.array([0.95, 1.0, 1.05]), np.array([1.0])
  assert alignment.count_matches(onsets, peaks, 10, version=1) == 3  # 3 / (3 + 1 - 3)
  assert alignment.count_matches(onsets, peaks, 10, version=2) == 1
  flow = np.array([0, 0, 0, 1.0, 0])  # doubled in front: the peak is at frame 4
  onsets = np.array([0.38, 0.42, 0.45])
  assert alignment.av_align(onsets, flow, 10, version=1) == Score(3.0)
  assert alignment.av_align(onsets, flow, 10, version=2) == Score(1 / 3)


def test_window_is_open_on_both_sides():
  peaks = np.array([1.0])
  for onset, wanted in ((0.75, 0), (0.7501, 1), (1.2499, 1), (1.25, 0)):
    assert alignment.count_matches(np.array([onset]), peaks, fps=4) == wanted


def test_greedy_matching_depends_on_the_order():
  peaks = np.array([1.0, 1.15])
  assert alignment.count_matches(np.array([0.95, 1.08]), peaks, 10) == 2
  assert alignment.count_matches(np.array([1.08, 0.95]), peaks, 10) == 1


def test_av_align_edge_cases():
  still, moving = np.zeros(9), np.array([0, 1.0, 0])
  assert alignment.av_align(EMPTY, EMPTY, 10) == Score(None, "too_short")
  assert alignment.av_align(EMPTY, still, 10) == Score(None, "no_events")
  assert alignment.av_align(np.array([0.5]), still, 10) == Score(0.0)
  assert alignment.av_align(EMPTY, moving, 10) == Score(0.0)


@pytest.mark.parametrize(
  ("flow", "peaks"),
  [
    ([1.0], []),
    ([0, 1.0], []),
    ([0, 1.0, 0], [2]),
    ([0, 1.0, 1.0, 0], []),
    ([0, 0.1, 0], [2]),
    ([0, 0.0999, 0], []),
    ([0, 1.0, np.nan, 1.0, 0], []),
    ([1.0, 0, 0], []),
  ],
)
def test_flow_peaks_are_strict(flow, peaks):
  np.testing.assert_allclose(alignment.flow_peaks(np.array(flow), fps=1), peaks)


def test_version_1_has_no_threshold():
  assert len(alignment.flow_peaks(np.array([0, 0.01, 0]), fps=1, version=1)) == 1
