"""The claims' numerics: on made motion whose truth is known, with no network."""

import numpy as np
import pytest

from dabfusion_jax.evaluation.study import (
  curve,
  dancing,
  estimates,
  replay,
  results,
  stage1,
  subjects,
)
from dabfusion_jax.evaluation.study.estimates import Estimate, Row
from data_pipeline.synthdance.truth import body_motion

_FPS = 10.0


def _grids(offsets, size=8):
  """Sampling grids that move as a whole: offsets [t, 2] in [-1, 1] units."""
  line = np.linspace(-1, 1, size, dtype=np.float32)
  grid = np.stack(np.meshgrid(line, line), -1)
  return grid + np.asarray(offsets, np.float32)[:, None, None]


def _dancer(beats, num_frames=40):
  """A flow that swings from side to side and rests on every beat."""
  time = np.arange(num_frames) / _FPS
  period = subjects.period_seconds(beats)
  swing = 0.2 * np.cos(np.pi * (time - beats[0]) / period)
  return _grids(np.stack([swing, np.zeros(num_frames)], -1))


@pytest.mark.parametrize("period", [0.45, 0.6, 0.75])
def test_a_dancer_on_the_beat_is_told_from_one_beside_it(period):
  beats = np.arange(-0.31, 5.0, period)
  when = dancing.pauses(dancing.speeds(_dancer(beats)[None], (64, 64)), _FPS)
  assert dancing.align(when, [beats])[0] > 0.9
  assert dancing.align_shifted(when, [beats])[0] < 0.1


def test_beats_of_other_tracks_are_chance():
  rng = np.random.default_rng(0)
  periods, phases = rng.uniform(0.45, 0.75, 40), rng.uniform(-1, 0, 40)
  beats = [np.arange(p * q, 5.0, p) for p, q in zip(periods, phases, strict=True)]
  flows = np.stack([_dancer(one) for one in beats])
  when = dancing.pauses(dancing.speeds(flows, (64, 64)), _FPS)
  tracks = [f"m{i}" for i in range(40)]
  shuffled = dancing.align_shuffled(when, beats, tracks, seed=0)
  assert abs(shuffled.mean() - dancing.chance(beats).mean()) < 0.03
  assert dancing.align_shuffled(when, beats, ["m0"] * 40, seed=0) is None


def test_the_beat_at_another_tempo_keeps_step_with_the_clip():
  beats = np.arange(-0.2, 4.5, 0.5)
  half, double = (subjects.at_tempo(beats, f) for f in (0.5, 2.0))
  np.testing.assert_allclose(np.diff(half), 1.0)
  np.testing.assert_allclose(np.diff(double), 0.25)
  np.testing.assert_allclose(double[::2], beats, atol=1e-9)
  assert half[0] <= beats[0] and half[-1] >= beats[-1] and beats[1] in half


def test_a_prolonged_beat_goes_one_beyond():
  beats = subjects.prolonged(np.array([-0.2, 0.3, 0.8]), 2.0)
  np.testing.assert_allclose(beats, [-0.2, 0.3, 0.8, 1.3, 1.8, 2.3, 2.8][: len(beats)])
  assert beats[-2] >= 1.8 and beats[-1] > 2.0


def test_error_of_a_flow_that_follows_the_body_is_nearly_none():
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
  error, still = stage1.flow_errors(flow, motion, part_map > 0)
  assert error < 0.01
  assert still == pytest.approx(1.5 * step, rel=1e-3)  # the first frame is left out
  backward, _ = stage1.flow_errors(_grids(-offsets, 16), motion, part_map > 0)
  assert backward == pytest.approx(2 * still, rel=1e-3)


def test_a_latent_grid_tells_a_motion_that_is_the_same_all_over_the_body():
  rng = np.random.default_rng(0)
  mask = np.zeros((2, 64, 64), bool)
  mask[:, 10:50, 20:40] = True
  motion = np.broadcast_to(np.float32([3, -2]), (2, 64, 64, 2)).copy()
  error, still = stage1.flow_errors(stage1.on_grid(motion, mask, 16), motion, mask)
  assert error < 1e-3 < still
  rough = rng.normal(0, 3, motion.shape)
  error, still = stage1.flow_errors(stage1.on_grid(rough, mask, 16), rough, mask)
  assert 0.7 * still < error < still


def test_a_place_hidden_in_the_first_frame_is_not_visible():
  part_map = np.zeros((2, 8, 8), np.uint8)
  part_map[0, 2, 2], part_map[0, 2, 3] = 1, 2
  part_map[1, 2, 4], part_map[1, 2, 5], part_map[1, 2, 7] = 1, 1, 1
  motion = np.zeros((2, 8, 8, 2), np.float32)
  motion[1, 2, 4:6, 0] = -2  # into part 1, and into part 2
  motion[1, 2, 7, 0] = 3  # out of the picture
  seen = stage1.visible(motion, part_map)
  assert seen[1].sum() == 1 and seen[1, 2, 4]


def test_cameras_of_a_sequence_are_one_sample():
  values = [1.0, 3.0, 4.0, np.nan]
  found = estimates.mean(values, ["a", "a", "b", "c"])
  assert (found.value, found.n, found.n_sequences) == (3.0, 3, 2)
  assert found.error == pytest.approx(1.0)
  with pytest.raises(ValueError, match="No clip"):
    estimates.mean([None], ["a"])


def test_error_of_a_ratio_is_that_of_repeated_samples():
  rng = np.random.default_rng(0)
  draw = lambda: (rng.normal(1, 0.3, 60), rng.normal(4, 0.5, 60))
  names = [str(i) for i in range(60)]
  found = [estimates.ratio(*draw(), names) for _ in range(300)]
  spread = np.std([one.value for one in found])
  assert np.mean([one.error for one in found]) == pytest.approx(spread, rel=0.15)


def test_way_is_none_at_chance_and_all_at_the_true_clips():
  chance, true = np.array([0.2, 0.3]), np.array([0.8, 0.7])
  way = lambda values: estimates.way(values, chance, true, ["a", "b"]).value
  assert way(chance) == 0 and way(true) == 1
  assert way((chance + true) / 2) == pytest.approx(0.5)


def test_a_replayed_clip_lies_at_no_distance():
  rng = np.random.default_rng(0)
  training = rng.normal(0, 1, (300, 40)).astype(np.float32)
  other = rng.normal(0, 1, (2, 40)).astype(np.float32)
  found = replay.nearest(np.concatenate([training[270:271], other]), training)
  brute = np.sqrt(((other[:, None] - training) ** 2).sum(-1).min(1) / 20)
  assert found[0] < 1e-2
  np.testing.assert_allclose(found[1:], brute, rtol=1e-5)
  barred = np.zeros((1, 300), bool)
  barred[0, 270] = True
  assert replay.nearest(training[270:271], training, barred)[0] > 0.5


def test_a_calm_dance_is_no_replay_and_a_learnt_one_is():
  rng = np.random.default_rng(0)
  known, held_out, new = (
    rng.normal(0, 1, (n, 40)).astype(np.float32) for n in (200, 20, 20)
  )
  learnt = known[:20] + rng.normal(0, 0.3, (20, 40)).astype(np.float32)
  none = np.zeros((20, 20), bool)

  def ratio(flows, own=none):
    near, elsewhere = replay.of_as_many(flows, known, held_out, own)
    return near.mean() / elsewhere.mean()

  assert (
    replay.nearest(0.5 * new, known).mean() < 0.8 * replay.nearest(new, known).mean()
  )
  assert ratio(0.5 * new) == pytest.approx(1, abs=0.05)
  assert ratio(held_out, np.eye(20, dtype=bool)) == pytest.approx(1, abs=0.05)
  # Found in one of the ten parts only.
  assert ratio(learnt) < 0.95


def test_displacement_is_in_pixels():
  flow = _grids([[0, 0], [2 * 3 / 63, 2 * 4 / 63]])
  moved = replay.displacements(flow[None], (64, 64)).reshape(2, -1, 2)
  np.testing.assert_allclose(moved[1], [[3, 4]] * 64, rtol=1e-4)
  distance = replay.nearest(moved[1].reshape(1, -1), np.zeros((1, 128), np.float32))
  assert distance[0] == pytest.approx(5, rel=1e-4)


def test_a_part_is_kept_with_what_it_depends_on(tmp_path):
  rows = [
    Row("a", Estimate(1.0, None, 2, 2)),
    Row("b", Estimate(1.0, 0.1, 2, 2), Estimate(2.0, 0.1, 2, 2), None, "x", "y", True),
  ]
  path = tmp_path / "part.json"
  assert results.read_part(path, {"seed": 0}) is None
  results.write_part(path, {"seed": 0}, results.Part(rows, {"k": 1}))
  assert results.read_part(path, {"seed": 0}) == results.Part(rows, {"k": 1})
  assert results.read_part(path, {"seed": 1}) is None


def test_the_table_says_whether_a_demand_is_met():
  found, null = Estimate(0.5, 0.01, 60, 58), Estimate(0.2, 0.002, 60, 58)
  row = Row("alignment | x", found, null=null, null_is="chance", asked="0.7", met=False)
  text = results.markdown("Title", "Note.", [row])
  assert "### Title\n\nNote.\n\n| what |" in text
  line = "| alignment \\| x | 0.500 ± 0.010 | 60 (58 sequences) |  | 0.200 ± 0.002"
  assert f"{line} (chance) | 0.7 | no |" in text


def test_the_curve_is_well_formed():
  import xml.etree.ElementTree as tree

  series = {
    method: [(n, Estimate(level / n, 0.01, 4, 4)) for n in (50, 5, 10)]
    for method, level in (("ddim", 2.0), ("a<b", 1.0))
  }
  root = tree.fromstring(
    curve.plot({"FVD": series, "one value": {"ddim": [(5, Estimate(1.0, None, 1, 1))]}})
  )
  lines = [e for e in root.iter() if e.tag.endswith("polyline")]
  assert len(lines) == 3
  places = [float(p.split(",")[0]) for p in lines[0].get("points").split()]
  assert places == sorted(places)
