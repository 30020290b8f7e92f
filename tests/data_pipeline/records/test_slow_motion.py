"""Slowed clips keep their beats, and clips in silence are nearly at rest."""

import numpy as np
import pytest

from data_pipeline.records.slow_motion import AT_REST, SLOWEST, SlowMotion, slow_down

FPS = 10


@pytest.fixture
def record():
  """Returns a flow that oscillates once per beat, at 120 beats per minute."""
  beats = np.arange(-0.5, 5.0, 0.5)
  phase = 2 * np.pi * np.arange(40) / FPS / 0.5
  motion = (1 - np.cos(phase)).astype(np.float32)
  return {
    "flow": np.broadcast_to(motion[:, None, None, None], (40, 4, 4, 2)).copy(),
    "occlusion": np.full((40, 4, 4, 1), 0.5, np.float32),
    "joints": np.broadcast_to(motion[:, None, None], (40, 13, 2)).copy(),
    "picture_joints": np.zeros((13, 2), np.float32),
    "z": np.ones((4, 4, 3), np.float32),
    "music": np.eye(8, dtype=np.float32)[0],
    "librosa_beats": beats,
    "truth_beats": beats + 0.01,
  }


def test_full_speed_leaves_the_clip_as_it_is(record):
  same = slow_down(record, 1.0)
  for key, value in record.items():
    np.testing.assert_allclose(same[key], value, atol=1e-6)


def test_half_speed_makes_frames_and_beats_twice_as_late(record):
  slowed = slow_down(record, 0.5)
  np.testing.assert_allclose(slowed["flow"][::2], record["flow"][:20], atol=1e-6)
  between = (record["flow"][3] + record["flow"][4]) / 2
  np.testing.assert_allclose(slowed["flow"][7], between, atol=1e-6)
  np.testing.assert_allclose(slowed["joints"][7], between[0, 0, 0], atol=1e-6)
  for key in ("librosa_beats", "truth_beats"):
    np.testing.assert_allclose(slowed[key], 2 * record[key])
  assert slowed["flow"].dtype == np.float32
  assert slowed["picture_joints"] is record["picture_joints"]
  assert slowed["z"] is record["z"] and slowed["music"] is record["music"]


@pytest.mark.parametrize("speed", [0.5, 0.77, 1.0])
def test_the_dance_still_pauses_on_its_beats(record, speed):
  slowed = slow_down(record, speed)
  beats = slowed["librosa_beats"]
  inside = beats[(beats >= 0) & (beats < 3.9)]
  frames = np.round(inside * FPS).astype(int)
  assert len(frames) >= 3
  assert slowed["flow"][frames].max() < 0.5 * slowed["flow"].max()


def test_fractions_are_as_asked_for_and_silence_is_calm(record):
  silence = np.eye(8, dtype=np.float32)[1]
  draw = SlowMotion(0.3, 0.2, silence)
  rng = np.random.default_rng(0)
  drawn = [draw(record, rng) for _ in range(1000)]
  calm = [clip for clip in drawn if clip["music"] is silence]
  slowed = [
    clip for clip in drawn if clip["music"] is not silence and clip is not record
  ]
  assert 150 < len(calm) < 250 and 250 < len(slowed) < 350
  speed = lambda clip: np.abs(np.diff(clip["flow"], axis=0)).mean()
  for clip in calm:
    assert speed(clip) < 1.5 * AT_REST[1] * speed(record)
    assert not len(clip["librosa_beats"]) and not len(clip["truth_beats"])
  for clip in slowed:
    ratio = clip["librosa_beats"][-1] / record["librosa_beats"][-1]
    assert 1 <= ratio <= 1 / SLOWEST


def test_fractions_of_zero_change_nothing(record):
  draw = SlowMotion(0.0, 0.0, np.zeros(8, np.float32))
  rng = np.random.default_rng(0)
  assert all(draw(record, rng) is record for _ in range(20))
