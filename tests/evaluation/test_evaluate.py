"""Scores of small folders stand beside their nulls, and are kept in a cache."""

import dataclasses
import errno
import json
import shutil

import clip_folders
import numpy as np
import pytest
from evaluations import ALL_BUT_NETWORKS, QUICK, evaluate_folders, write_folders

from dabfusion_jax.evaluation.reading import clips, features
from dabfusion_jax.evaluation.reading.changes import Change
from dabfusion_jax.evaluation.reading.features import Reading
from dabfusion_jax.evaluation.reading.networks import Networks
from dabfusion_jax.evaluation.reporting import protocol
from dabfusion_jax.evaluation.reporting.result import (
  as_text,
  score_lines,
  write_result,
)
from dabfusion_jax.evaluation.scoring import aggregate
from dabfusion_jax.metrics.features import i3d
from data_pipeline import files


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
  return write_folders(tmp_path_factory.mktemp("folders"))


@pytest.fixture(scope="module")
def noisy(folders):
  return evaluate_folders(
    folders / "noisy", folders / "real", folders / "cache", ALL_BUT_NETWORKS
  )


def test_paired_scores_stand_beside_the_frozen_frame(noisy):
  result, measured = noisy
  rows = result["summary"]["all"]
  assert rows["psnr"]["n"] == 8 and 20 < rows["psnr"]["mean"] < 30
  still = rows["psnr"]["nulls"]["frozen"]["mean"]
  assert still != rows["psnr"]["mean"]
  assert "frozen first frame" in rows["psnr"]["words"]
  assert rows["lpips_alex"]["mean"] is None
  assert rows["lpips_alex"]["reasons"] == {"not_asked": 8}
  assert rows["ssim_mask"]["n"] == 8 and rows["ssim_rows"]["n"] == 8
  assert (
    result["protocol"]["num_paired"] == 8
    and measured.shuffled_sd("av_align", range(8)) > 0
  )


def test_beat_alignment_stands_beside_all_its_nulls(noisy):
  result, _ = noisy
  row = result["summary"]["all"]["beat_alignment"]
  assert set(row["nulls"]) == {"frozen", "shuffled", "half_beat", "chance", "codec"}
  assert row["nulls"]["frozen"]["mean"] == 0.0
  assert row["nulls"]["frozen"]["flags"] == {"no_kinematic_beat": 8}
  # The four tempi of the folder, in closed form.
  expected = np.mean([0.167, 0.188, 0.209, 0.230])
  assert abs(row["nulls"]["chance"]["mean"] - expected) < 1e-3
  assert row["nulls"]["shuffled"]["sd_of_draws"] > 0
  assert row["real"]["n"] == 8
  joints = result["summary"]["all"]["beat_alignment_joints"]
  assert joints["n"] == 0 and joints["real"]["n"] == 8
  assert result["summary"]["all"]["mm_align"]["reasons"] == {"not_asked": 8}
  assert "chance" not in result["summary"]["all"]["mm_align"]["nulls"]
  assert result["summary"]["all"]["clip_score"]["words"] == "not computed (no_weights)"


def test_the_cost_of_coding_alone_stands_beside_every_score(noisy):
  rows = noisy[0]["summary"]["all"]
  coded = rows["psnr"]["nulls"]["codec"]
  assert coded["n"] == 8 and 30 < coded["mean"] < 60
  assert rows["ssim"]["nulls"]["codec"]["mean"] < 1
  # The motion is that of the real clips after coding.
  own, real = rows["speed"]["nulls"]["codec"]["mean"], rows["speed"]["real"]["mean"]
  assert own != real and abs(own / real - 1) < 0.3
  assert rows["beat_alignment"]["nulls"]["codec"]["n"] == 8


def test_the_noise_of_a_group_is_that_of_its_own_clips(noisy):
  result, measured = noisy
  of = lambda group: result["summary"][group]["av_align"]["nulls"]["shuffled"]
  table = measured.draws["av_align"]
  for group, indices in (("all", range(8)), ("genre=BR", [0, 1])):
    expected = table[:, list(indices)].mean(axis=1).std(ddof=1)
    assert of(group)["sd_of_draws"] == pytest.approx(expected)
    if group != "all":
      assert {measured.labels[i].genre for i in indices} == {"BR"}


def test_shuffled_music_is_the_mean_of_its_draws(noisy):
  result, measured = noisy
  row = result["summary"]["all"]["av_align"]
  columns = [measured.column(kind, "av_align") for kind in ("sample", "shuffled")]
  gap = aggregate.difference(*columns, [x.sequence for x in measured.labels])
  error = (
    row["nulls"]["shuffled"]["sd_of_draws"] / len(measured.draws["av_align"]) ** 0.5
  )
  assert row["words"] == aggregate.in_words(gap, "shuffled music", "higher", error)


def test_groups_are_summarised_separately(noisy):
  summary = noisy[0]["summary"]
  assert summary["genre=BR"]["psnr"]["n"] == 2
  assert summary["camera=c01"]["psnr"] == summary["all"]["psnr"]


def test_a_result_is_plain_json_and_undefined_scores_have_reasons(noisy, tmp_path):
  result, measured = noisy
  path = write_result(tmp_path, result, score_lines(measured))
  assert json.loads(path.read_text()) == json.loads(json.dumps(result))
  lines = [json.loads(s) for s in (tmp_path / "scores.jsonl").read_text().splitlines()]
  undefined = [s for s in lines if s["value"] is None]
  assert undefined and all(s["reason"] for s in undefined)
  assert {s["of"] for s in lines} >= {"sample", "real", "frozen", "shuffled", "chance"}
  assert "2D-MM Align" in as_text(result)


def test_a_full_disk_leaves_the_earlier_result_with_its_scores(tmp_path, monkeypatch):
  write_result(tmp_path, {"number": 1}, [{"value": 1.0}])
  before = {path.name: path.read_text() for path in tmp_path.iterdir()}

  def write_json(path, content):
    raise OSError(errno.ENOSPC, "No space left on device", str(path))

  monkeypatch.setattr(files, "write_json", write_json)
  with pytest.raises(OSError):
    write_result(tmp_path, {"number": 2}, [{"value": 2.0}])
  assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before


def test_a_second_run_takes_everything_from_the_cache(noisy, folders, monkeypatch):
  def refuse(*_, **__):
    raise AssertionError("read a clip although the cache has its features")

  monkeypatch.setattr(clips, "read_clip", refuse)
  result, _ = evaluate_folders(
    folders / "noisy", folders / "real", folders / "cache", ALL_BUT_NETWORKS
  )
  assert result == noisy[0]


def test_another_setting_is_not_taken_from_the_cache(noisy, folders):
  cut = Reading(num_frames=12)
  result, _ = evaluate_folders(
    folders / "noisy", folders / "real", folders / "cache", ("paired",), reading=cut
  )
  assert result["protocol"]["num_frames"] == 12
  names = [clip_folders.name_of(i) for i in range(8)]
  assert result["protocol"]["names_hash"] == protocol.list_hash(names)
  mean = result["summary"]["all"]["psnr"]["mean"]
  assert mean != noisy[0]["summary"]["all"]["psnr"]["mean"]


def test_identical_folders_are_perfect_but_not_better_than_themselves(
  folders, tmp_path
):
  result, _ = evaluate_folders(folders / "real", folders / "real", tmp_path, QUICK)
  rows = result["summary"]["all"]
  assert rows["ssim"]["mean"] == pytest.approx(1, abs=1e-6)
  assert rows["psnr"]["mean"] == 100 and rows["psnr_pooled"]["n"] == 0
  assert rows["psnr"]["flags"] == {"identical_frames": 8}
  assert "within its noise" in rows["speed"]["words"]


def _fake_logits(variables, videos, resize):
  """Returns features of the picture and its motion, without the network."""
  assert videos.ndim == 5 and videos.shape[1] >= i3d.MIN_FRAMES
  x = videos.astype(np.float32) / 255
  parts = [x.mean((1, 2, 3)), x.std((1, 2, 3))]
  parts.append(np.abs(np.diff(x, axis=1)).mean((1, 2, 3)))
  return np.tile(np.concatenate(parts, axis=1), 45)[:, :400].astype(np.float32)


def test_fvd_is_computed_for_groups_and_beside_its_baselines(
  folders, tmp_path, monkeypatch
):
  monkeypatch.setattr(features.i3d, "i3d_logits", _fake_logits)
  monkeypatch.setattr(Networks, "__getitem__", lambda self, name: {})
  networks = Networks({"i3d": "fake"}, {})
  run = lambda a: evaluate_folders(
    folders / a, folders / "real", tmp_path, ("fvd", "fvd_16f", "codec"), networks
  )[0]["summary"]
  summary = run("noisy")
  row = summary["all"]["fvd"]
  assert row["n"] == row["n_real"] == 8 and row["value"] > 0
  assert row["nulls"]["frozen"] > 0 and row["nulls"]["codec"] > 0
  assert row["real_half"]["n"] == 4
  assert summary["all"]["fvd_16f"]["value"] != row["value"]
  assert summary["genre=BR"]["fvd"]["n"] == 2
  same = run("real")["all"]["fvd"]
  assert same["value"] == pytest.approx(0, abs=1e-6)
  assert "within its noise" in same["words"]
  # The same clips under each other's names are the same set.
  names = [clip_folders.name_of(i) for i in range(8)]
  for name, other in zip(names, names[3:] + names[:3], strict=True):
    (tmp_path / "mixed").mkdir(exist_ok=True)
    shutil.copy(folders / "real" / f"{name}.npz", tmp_path / "mixed" / f"{other}.npz")
  mixed = evaluate_folders(
    tmp_path / "mixed", folders / "real", tmp_path, ("fvd",), networks
  )
  assert mixed[0]["summary"]["all"]["fvd"]["value"] == pytest.approx(0, abs=1e-6)
  # A shorter clip is left out, and there must be at least two.
  for i, length in ((0, 24), (1, 20), (2, 24)):
    arrays = {"frames": clip_folders.make_frames(i)[:length], "fps": 10}
    (tmp_path / "few").mkdir(exist_ok=True)
    clips.write_arrays(tmp_path / "few" / f"{names[i]}.npz", arrays)
  few = lambda name="fvd": evaluate_folders(
    tmp_path / "few", folders / "real", tmp_path, (name,), networks
  )[0]["summary"]["all"][name]
  assert few()["n"] == 2 and few("fvd_16f")["n"] == 3
  assert few()["n_undefined"] == 1 and few()["reasons"] == {"length_differs": 1}
  (tmp_path / "few" / f"{names[0]}.npz").unlink()
  assert few()["reason"] == "too_few_clips" and few()["value"] is None


def test_what_stage_1_rebuilds_is_measured_beside_the_frozen_frame(folders, tmp_path):
  """A stage 1 that loses one grey level, and one that rebuilds the first frame only."""
  darker = lambda clip: dataclasses.replace(clip, frames=clip.frames - np.uint8(1))
  evaluate_by = lambda apply, version: evaluate_folders(
    folders / "noisy",
    folders / "real",
    tmp_path,
    ("motion",),
    stage1=Change("stage1", version, apply),
  )[0]
  result = evaluate_by(darker, "darker")
  rows = result["summary"]["all"]
  assert result["protocol"]["stage1"] == "darker"
  for name in ("stage1_psnr", "stage1_psnr_mask"):
    assert rows[name]["mean"] == pytest.approx(20 * np.log10(255), abs=0.01)
    assert rows[name]["nulls"]["frozen"]["mean"] < 40
    assert "better, larger than its noise" in rows[name]["words"]
  frozen = evaluate_by(clips.frozen, "frozen")["summary"]["all"]["stage1_ssim"]
  assert frozen["mean"] == frozen["nulls"]["frozen"]["mean"]
  assert "within its noise" in frozen["words"]
