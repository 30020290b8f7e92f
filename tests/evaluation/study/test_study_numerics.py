"""Numerics of the study, on made-up motion whose truth is known, with no network."""

import numpy as np
import pytest

from dabfusion_jax.evaluation.scoring.aggregate import Estimate
from dabfusion_jax.evaluation.scoring.baselines import period_seconds
from dabfusion_jax.evaluation.study import (
  beat_grids,
  claim,
  latent_motion,
  replay,
  stage1,
)
from dabfusion_jax.evaluation.study.expectations import Expectation
from dabfusion_jax.evaluation.study.latent_motion import EVERY, STRICT
from data_pipeline.records.body_parts import body_motion

_FPS, _SIZE = 10.0, (64, 64)


def _grids(offsets, size=8):
  """Returns sampling grids that move as a whole by offsets [t, 2] in [-1, 1] units."""
  line = np.linspace(-1, 1, size, dtype=np.float32)
  grid = np.stack(np.meshgrid(line, line), -1)
  return grid + np.asarray(offsets, np.float32)[:, None, None]


def _dancer(beats, num_frames=40):
  """Returns a flow that swings from side to side and rests on every beat."""
  time = np.arange(num_frames) / _FPS
  swing = 0.2 * np.cos(np.pi * (time - beats[0]) / period_seconds(beats))
  return _grids(np.stack([swing, np.zeros(num_frames)], -1))


@pytest.mark.parametrize("period", [0.45, 0.6, 0.75])
def test_a_dancer_on_the_beat_differs_from_one_off_the_beat(period):
  beats = np.arange(-0.31, 5.0, period)
  motion = latent_motion.motion_of(_dancer(beats)[None], _SIZE, _FPS)
  assert motion.alignment([beats])[0] > 0.9
  assert motion.alignment_half_beat_later([beats])[0] < 0.1


def test_only_the_strict_rule_ignores_shallow_minima():
  """A small dip half way between beats is a minimum, but not a deep one."""
  beats = np.arange(-0.95, 5.0, 1.0)
  phase = np.arange(39) / 10  # of the beat, at the middle of each step
  speed = 1 - np.cos(2 * np.pi * phase)
  speed[5::10] -= 0.3
  motion = latent_motion.LatentMotion(speed[None], _FPS)
  assert motion.alignment([beats], STRICT)[0] > 0.99
  assert motion.alignment([beats], EVERY)[0] < 0.6


def test_beats_of_other_tracks_are_at_chance():
  rng = np.random.default_rng(0)
  periods, phases = rng.uniform(0.45, 0.75, 40), rng.uniform(-1, 0, 40)
  beats = [np.arange(p * q, 5.0, p) for p, q in zip(periods, phases, strict=True)]
  flows = np.stack([_dancer(times) for times in beats])
  motion = latent_motion.motion_of(flows, _SIZE, _FPS)
  tracks = [f"m{i}" for i in range(40)]
  shuffled = motion.alignment_shuffled(beats, tracks, seed=0)
  assert abs(shuffled.mean() - latent_motion.chance(beats).mean()) < 0.03
  assert motion.alignment_shuffled(beats, ["m0"] * 40, seed=0) is None


def test_a_beat_at_another_tempo_keeps_a_beat_of_the_clip():
  beats = np.arange(-0.2, 4.5, 0.5)
  half, double = (beat_grids.at_tempo(beats, factor) for factor in (0.5, 2.0))
  np.testing.assert_allclose(np.diff(half), 1.0)
  np.testing.assert_allclose(np.diff(double), 0.25)
  np.testing.assert_allclose(double[::2], beats, atol=1e-9)
  assert half[0] <= beats[0] and half[-1] >= beats[-1] and beats[1] in half


def test_a_continued_beat_ends_one_beat_later():
  beats = beat_grids.continued(np.array([-0.2, 0.3, 0.8]), 2.0)
  np.testing.assert_allclose(beats, [-0.2, 0.3, 0.8, 1.3, 1.8, 2.3, 2.8][: len(beats)])
  assert beats[-2] >= 1.8 and beats[-1] > 2.0


def test_beats_from_a_later_start_keep_one_beat_before_it():
  beats = beat_grids.from_start(np.array([0.0, 0.5, 1.0, 1.5]), 1.2)
  np.testing.assert_allclose(beats, [-0.2, 0.3])


def test_a_flow_that_follows_the_body_has_hardly_any_error():
  """A body that moves to the right is found in the first frame to its left."""
  size, step = 64, 3
  part_map = np.zeros((3, size, size), np.uint8)
  pose = np.zeros((3, 1, 6), np.float32)
  for t in range(3):
    x = 20 + step * t
    part_map[t, 16:48, x - 6 : x + 7] = 1
    pose[t, 0] = [x, 22, 6, x, 42, 6]
  motion = np.stack([body_motion(part_map[t], pose[t], pose[0]) for t in range(3)])
  offsets = np.array([[-2 * step * t / (size - 1), 0] for t in range(3)])
  flow = _grids(offsets, 16)
  error, no_motion = stage1.flow_errors(flow, motion, part_map > 0)
  assert error < 0.01
  assert no_motion == pytest.approx(1.5 * step, rel=1e-3)  # without the first frame
  backward, _ = stage1.flow_errors(_grids(-offsets, 16), motion, part_map > 0)
  assert backward == pytest.approx(2 * no_motion, rel=1e-3)


def test_a_latent_grid_can_hold_a_motion_that_is_the_same_all_over_the_body():
  rng = np.random.default_rng(0)
  mask = np.zeros((2, 64, 64), bool)
  mask[:, 10:50, 20:40] = True

  def errors(motion):
    return stage1.flow_errors(
      np.asarray(stage1.on_grid(motion, mask, 16)), motion, mask
    )

  motion = np.broadcast_to(np.float32([3, -2]), (2, 64, 64, 2)).copy()
  error, no_motion = errors(motion)
  assert error < 1e-3 < no_motion
  error, no_motion = errors(rng.normal(0, 3, motion.shape).astype(np.float32))
  assert 0.7 * no_motion < error < no_motion


def test_a_replayed_clip_has_no_distance():
  rng = np.random.default_rng(0)
  training = rng.normal(0, 1, (300, 40)).astype(np.float32)
  other = rng.normal(0, 1, (2, 40)).astype(np.float32)
  distances = replay.nearest(np.concatenate([training[270:271], other]), training)
  brute = np.sqrt(((other[:, None] - training) ** 2).sum(-1).min(1) / 20)
  assert distances[0] < 1e-2
  np.testing.assert_allclose(distances[1:], brute, rtol=1e-5)
  is_barred = np.zeros((1, 300), bool)
  is_barred[0, 270] = True
  assert replay.nearest(training[270:271], training, is_barred)[0] > 0.5


def test_a_calm_dance_is_not_memorised_but_a_copied_one_is():
  rng = np.random.default_rng(0)
  known, held_out, new = (
    rng.normal(0, 1, (n, 40)).astype(np.float32) for n in (200, 20, 20)
  )
  copied = known[:20] + rng.normal(0, 0.3, (20, 40)).astype(np.float32)
  calm = np.float32(0.5) * new

  def ratio(rows, is_own=None):
    near = replay.nearest_of_equal(rows, known, len(held_out))
    return near.mean() / replay.nearest(rows, held_out, is_own).mean()

  assert replay.nearest(calm, known).mean() < 0.8 * replay.nearest(new, known).mean()
  assert ratio(calm) == pytest.approx(1, abs=0.05)
  assert ratio(held_out, np.eye(20, dtype=bool)) == pytest.approx(1, abs=0.05)
  # The copy is found in one of the ten parts only.
  assert ratio(copied) < 0.95


def test_displacements_are_in_pixels():
  flow = _grids([[0, 0], [2 * 3 / 63, 2 * 4 / 63]])
  moved = replay.displacements(flow[None], _SIZE).reshape(2, -1, 2)
  np.testing.assert_allclose(moved[1], [[3, 4]] * 64, rtol=1e-4)
  distance = replay.nearest(moved[1].reshape(1, -1), np.zeros((1, 128), np.float32))
  assert distance[0] == pytest.approx(5, rel=1e-4)


def _part():
  part = claim.Part("control", ["a", "a", "b"])
  values = np.array([0.1, 0.3, 0.5])
  part.add("silence.speed", "speed | x", values, values + 1, np.zeros(3), "chance")
  part.add("silence.speed_ratio", "ratio", Estimate(0.4, None, 3, 2))
  part.values["other"] = np.array([1.0, np.nan, 2.0])
  return part


def test_claims_are_read_back_only_if_they_depend_on_the_same(tmp_path):
  part, path = _part(), tmp_path / "part.json"
  assert claim.read_claims(path, {"seed": 0}) is None
  part.write(path, {"seed": 0})
  assert claim.read_claims(path, {"seed": 0}) == part.claims
  assert claim.read_claims(path, {"seed": 1}) is None
  assert '"other": [\n      1.0,\n      null' in path.read_text()


def test_the_table_says_whether_an_expectation_holds():
  table = claim.as_markdown("control", _part().claims)
  assert table.startswith("| claim |")
  line = "| speed \\| x | 0.35 +- 0.15 | 3 (2 sequences) | 1.35 +- 0.15 | 0 (chance) |"
  assert f"{line}  |  |" in table
  assert "| at most 0.5; our choice of what calm means | yes |" in table
  loud = [claim.Claim("silence.speed_ratio", "ratio", Estimate(0.6, None, 3, 2))]
  assert "our choice of what calm means | no |" in claim.as_markdown("control", loud)


@pytest.mark.parametrize(
  ("relation", "bound", "mean", "expected"),
  [
    ("at least", 0.7, 0.7, True),
    ("at least", 0.7, 0.69, False),
    ("at most", 0.5, 0.5, True),
    ("at most", 0.5, 0.51, False),
    ("above 0", 4, 0.41, True),
    ("above 0", 4, 0.39, False),
    ("not above 0", 2, 0.19, True),
    ("not above 0", 2, 0.21, False),
    ("not below real", 2, 0.81, True),
    ("not below real", 2, 0.79, False),
    ("higher", 2, 0.21, True),
    ("higher", 2, -0.21, False),
    ("lower", 2, -0.21, True),
    ("lower", 2, 0.19, None),
  ],
)
def test_expectations_hold_up_to_their_bound(relation, bound, mean, expected):
  """Bounds of the last kinds count in standard errors, here 0.1."""
  value, real = Estimate(mean, 0.1, 9, 9), Estimate(1.0, 0.1, 9, 9)
  assert Expectation(relation, bound, "").holds(value, real) is expected


@pytest.mark.parametrize("relation", ["above 0", "not above 0"])
def test_without_a_standard_error_it_is_undecided_what_is_above_zero(relation):
  assert Expectation(relation, 2, "").holds(Estimate(1.0, None, 1, 1)) is None
