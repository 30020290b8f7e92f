"""Means, errors and sentences: undefined scores leave the mean and are counted."""

import numpy as np
import pytest

from dabfusion_jax.evaluation.reporting import protocol
from dabfusion_jax.evaluation.scoring import aggregate, baselines, fvd
from dabfusion_jax.metrics.alignment import Score


def _scores(*values):
  return [Score(v) if v is not None else Score(None, "no_music_beat") for v in values]


def test_undefined_scores_leave_the_mean_and_are_counted():
  row = aggregate.summarise(
    [*_scores(1.0, None, 2.0), Score(0.0, "no_kinematic_beat")], "abcd", "wxyz", 0
  )
  assert row["mean"] == 1.0 and row["n"] == 3 and row["n_undefined"] == 1
  assert row["reasons"] == {"no_music_beat": 1}
  assert row["flags"] == {"no_kinematic_beat": 1}
  assert np.isclose(row["sem"], 1 / np.sqrt(3))


def test_cameras_of_one_sequence_count_once():
  values, sequences = [1.0, 1.0, 1.0, 3.0], ["a", "a", "a", "b"]
  row = aggregate.summarise(_scores(*values), sequences, [""] * 4, 0)
  assert row["n_sequences"] == 2 and np.isclose(row["sem_seq"], 1.0)
  assert np.isclose(row["sem"], 0.5) and row["mean"] == 2.0


def test_one_clip_has_no_error_and_none_has_no_mean():
  row = aggregate.summarise(_scores(1.0), ["a"], ["t"], 0)
  assert row["sem"] is None and row["sem_seq"] is None and row["interval"] is None
  assert aggregate.summarise([], [], [], 0)["mean"] is None
  with pytest.raises(ValueError, match="not finite"):
    aggregate.summarise([Score(float("nan"))], ["a"], ["t"], 0)


def test_the_interval_resamples_tracks():
  rng = np.random.default_rng(0)
  level = rng.normal(size=10)
  tracks = np.repeat(np.arange(10), 20)
  values = level[tracks] + 0.01 * rng.normal(size=200)
  names = [f"t{i}" for i in tracks]
  low, high = aggregate.summarise(_scores(*values), names, names, 0)["interval"]
  width = 2 * 1.96 * level.std() / np.sqrt(10)
  assert abs((high - low) / width - 1) < 0.2 and low < values.mean() < high
  four = aggregate.summarise(_scores(*values[:80]), names[:80], names[:80], 0)
  assert four["interval"] is None
  unknown = aggregate.summarise(_scores(*values), names, ["", *names[1:]], 0)
  assert unknown["interval"] is None  # of other clips than the mean


def test_the_interval_is_that_of_the_mean_over_sequences():
  """One track is filmed by nine cameras, nine by one."""
  values = [1.0] * 9 + [0.0] * 9
  names = ["a"] * 9 + list("bcdefghij")
  row = aggregate.summarise(_scores(*values), names, names, 0)
  low, high = row["interval"]
  assert row["mean"] == 0.1 and low == 0.0 and 0.2 <= high <= 0.4


def test_two_sequences_tell_less_than_ten():
  """The same gap in standard errors: Student's t at one and at nine degrees."""
  for count, expected in ((2, "within its noise"), (10, "larger than its noise")):
    values = 4.0 + np.sqrt(count / 2) * np.array([1, -1] * (count // 2))
    gap = aggregate.difference(
      _scores(*values), _scores(*[0.0] * count), [str(i) for i in range(count)]
    )
    assert expected in aggregate.in_words(gap, "its null", "higher")


def test_words_tell_a_difference_from_its_noise():
  sequences = list("abcdefgh")
  noise = np.array([1, -1, 1, -1, 1, -1, 1, -1.0])
  base = _scores(*np.arange(8.0))
  words = lambda shift, better: aggregate.in_words(
    aggregate.difference(_scores(*(np.arange(8) + shift + noise)), base, sequences),
    "its null",
    better,
  )
  assert "better, larger than its noise" in words(5, "higher")
  assert "worse, larger than its noise" in words(5, "lower")
  assert "within its noise" in words(0.3, "higher")
  same = aggregate.difference(base, base, sequences)
  assert "within its noise" in aggregate.in_words(same, "itself", "higher")
  lonely = aggregate.difference(base[:1], _scores(1.0), ["a"])
  assert "noise unknown" in aggregate.in_words(lonely, "its null", "higher")


def test_derangements_give_every_clip_another_track():
  tracks = ["a"] * 5 + ["b"] * 3 + ["c"] * 2
  draws = baselines.derangements(tracks, 30, 0)
  for order in draws:
    assert sorted(order) == list(range(10))
    assert all(tracks[i] != tracks[j] for i, j in enumerate(order))
  assert len({tuple(order) for order in draws}) > 20
  again = baselines.derangements(tracks, 30, 0)
  np.testing.assert_array_equal(draws, again)
  assert baselines.derangements(["a", "a", "b"], 5, 0) is None
  assert baselines.derangements(["a"], 5, 0) is None


def test_half_a_beat_later_is_midway():
  beats = np.array([0.1, 0.6, 1.2])
  np.testing.assert_allclose(
    baselines.half_beat_later(beats), [-0.15, 0.35, 0.9, 1.5], atol=1e-12
  )
  assert len(baselines.half_beat_later(beats[:1])) == 1


def _features(rng, n, shift=0.0):
  return (rng.normal(size=(n, 6)) + shift).astype(np.float32)


def test_fvd_stands_beside_equal_sets_of_the_same_size():
  rng = np.random.default_rng(0)
  real, frozen = _features(rng, 40), _features(rng, 40, 3.0)
  names = [f"s{i}" for i in range(40)]
  rows = [
    fvd.fvd_row(_features(rng, 40, shift), real, names, names, {"frozen": frozen}, 0)
    for shift in (0.0, 2.0)
  ]
  alike, other = rows
  assert alike["real_half"]["n"] == alike["sample_half"]["n"] == 20
  assert "within its noise" in alike["words"]
  assert "larger than its noise" in other["words"]
  assert other["nulls"]["frozen"] > other["value"] > alike["value"]
  assert alike["real_half"]["mean"] > alike["value"]  # half the clips, more bias


def test_fvd_of_identical_and_of_permuted_sets_is_zero():
  rng = np.random.default_rng(0)
  real = _features(rng, 12)
  names = [f"s{i}" for i in range(12)]
  for samples in (real, real[::-1], rng.permutation(real)):
    row = fvd.fvd_row(samples, real, names, names, {"frozen": real[:0]}, 0)
    assert abs(row["value"]) < 1e-5 and row["nulls"] == {}


def test_fvd_at_half_of_n_leaves_out_samples_of_the_other_half():
  """Copies of the real clips are no better than other real clips, once unpaired."""
  rng = np.random.default_rng(0)
  real = _features(rng, 24)
  names = [f"s{i}" for i in range(24)]
  copied = fvd.fvd_row(real, real, names, names, {}, 0)
  assert copied["value"] < 1e-5 and copied["gap"]["mean"] == pytest.approx(0, abs=1e-9)
  assert copied["real_half"]["mean"] > 1
  unpaired = fvd.fvd_row(real, real, [f"x{i}" for i in range(24)], names, {}, 0)
  assert unpaired["gap"]["mean"] < -0.1


def test_a_null_of_fvd_has_as_many_clips_as_there_are_samples():
  rng = np.random.default_rng(0)
  real, other = _features(rng, 200), _features(rng, 200)
  names = [f"s{i}" for i in range(200)]
  few = fvd.fvd_row(other[:8], real, names[:8], names, {"codec": other}, 0)
  all_ = fvd.fvd_row(other, real, names, names, {"codec": other}, 0)
  assert few["nulls"]["codec"] > 5 * all_["nulls"]["codec"]


def test_fvd_of_fewer_than_two_clips_is_not_computed():
  real = _features(np.random.default_rng(0), 5)
  row = fvd.fvd_row(real[:1], real, ["a"], list("abcde"), {"frozen": real}, 0)
  assert row["value"] is None and row["reason"] == "too_few_clips"


def test_different_protocols_are_refused_by_name():
  a = {"fps": 10, "weights": {"i3d": "x"}, "num_frames": 40}
  protocol.check_same(a, dict(a), ("one", "two"))
  b = a | {"weights": {"i3d": "y"}}
  with pytest.raises(protocol.ProtocolError, match="weights.i3d is 'x' in the first"):
    protocol.check_same(a, b, ("one", "two"))
  with pytest.raises(protocol.ProtocolError, match="num_frames is 40 .* and 80"):
    protocol.check_same(a, a | {"num_frames": 80}, ("one", "two"))
  protocol.check_same(a, a | {"num_frames": 80}, ("one", "two"), ("num_frames",))
  protocol.check_same(a, b, ("one", "two"), ("weights",))
  assert protocol.list_hash(["a", "b"]) == protocol.list_hash(["b", "a"])


def test_a_mean_is_over_sequences_not_clips():
  values = [1.0, 3.0, 4.0, np.nan]
  estimate = aggregate.estimate(values, ["a", "a", "b", "c"])
  assert (estimate.mean, estimate.n, estimate.n_sequences) == (3.0, 3, 2)
  assert estimate.error == pytest.approx(1.0)
  with pytest.raises(ValueError, match="No clip"):
    aggregate.estimate([None], ["a"])


def test_the_error_of_a_ratio_is_that_of_repeated_samples():
  rng = np.random.default_rng(0)
  draw = lambda: (rng.normal(1, 0.3, 60), rng.normal(4, 0.5, 60))
  names = [str(i) for i in range(60)]
  ratios = [aggregate.ratio(*draw(), names) for _ in range(300)]
  spread = np.std([ratio.mean for ratio in ratios])
  assert np.mean([ratio.error for ratio in ratios]) == pytest.approx(spread, rel=0.15)


def test_the_gap_from_chance_to_real_clips_goes_from_0_to_1():
  chance, real = np.array([0.2, 0.3]), np.array([0.8, 0.7])
  fraction = lambda values: (
    aggregate.fraction_of_gap(values, chance, real, ["a", "b"]).mean
  )
  assert fraction(chance) == 0 and fraction(real) == 1
  assert fraction((chance + real) / 2) == pytest.approx(0.5)
