"""Whole evaluations of small folders: pairing, nulls, edge cases, cache, command."""

import dataclasses
import json
import shutil

import clip_folders
import numpy as np
import pytest

from dabfusion_jax import evaluate as program
from dabfusion_jax.evaluation.reading import clips, features
from dabfusion_jax.evaluation.reading.cache import FeatureCache
from dabfusion_jax.evaluation.reading.changes import Change
from dabfusion_jax.evaluation.reading.clip_sets import open_clip_set
from dabfusion_jax.evaluation.reading.features import Reading
from dabfusion_jax.evaluation.reading.music_events import continue_beats
from dabfusion_jax.evaluation.reading.networks import Networks
from dabfusion_jax.evaluation.reporting.result import (
  as_text,
  evaluate,
  score_lines,
  write_result,
)
from dabfusion_jax.evaluation.scoring.measure import Extras, Settings
from dabfusion_jax.metrics.features import i3d
from data_pipeline.music.onsets import LATE_SECONDS

_NONE = Networks({}, {})
_QUICK = ("paired", "alignment", "motion")
_ALL_BUT_NETWORKS = (*_QUICK, "codec")


def _evaluate(samples, references, cache, groups=_QUICK, networks=_NONE, **settings):
  reading = settings.pop("reading", Reading())
  cache = FeatureCache(cache)
  clip_sets = [
    folder and open_clip_set(folder, part, reading, cache)
    for folder, part in ((samples, "samples"), (references, "references"))
  ]
  extras = Extras(networks, stage1=settings.pop("stage1", None))
  settings = Settings(groups=groups, reading=reading, **settings)
  return evaluate(*clip_sets, settings, extras)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
  root = tmp_path_factory.mktemp("folders")
  clip_folders.write_folder(root / "real")
  clip_folders.write_folder(root / "noisy", noise=20, truth=False)
  return root


@pytest.fixture(scope="module")
def noisy(folders):
  return _evaluate(
    folders / "noisy", folders / "real", folders / "cache", _ALL_BUT_NETWORKS
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
  assert result["summary"]["all"]["mm_align"]["reasons"] == {"no_pose_estimator": 8}
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


def test_a_second_run_takes_everything_from_the_cache(noisy, folders, monkeypatch):
  def refuse(*_, **__):
    raise AssertionError("read a clip although the cache has its features")

  monkeypatch.setattr(clips, "read_clip", refuse)
  result, _ = _evaluate(
    folders / "noisy", folders / "real", folders / "cache", _ALL_BUT_NETWORKS
  )
  assert result == noisy[0]


def test_another_setting_is_not_taken_from_the_cache(noisy, folders):
  cut = Reading(num_frames=12)
  result, _ = _evaluate(
    folders / "noisy", folders / "real", folders / "cache", ("paired",), reading=cut
  )
  assert result["protocol"]["num_frames"] == 12
  mean = result["summary"]["all"]["psnr"]["mean"]
  assert mean != noisy[0]["summary"]["all"]["psnr"]["mean"]


def test_identical_folders_are_perfect_but_not_better_than_themselves(
  folders, tmp_path
):
  result, _ = _evaluate(folders / "real", folders / "real", tmp_path, _QUICK)
  rows = result["summary"]["all"]
  assert rows["ssim"]["mean"] == pytest.approx(1, abs=1e-6)
  assert rows["psnr"]["mean"] == 100 and rows["psnr_pooled"]["n"] == 0
  assert rows["psnr"]["flags"] == {"identical_frames": 8}
  assert "within its noise" in rows["speed"]["words"]


def test_clips_without_a_partner_have_unpaired_metrics_only(folders, tmp_path):
  for i in range(3):
    arrays = {"frames": clip_folders.make_frames(i), "fps": 10}
    clips.write_arrays(tmp_path / f"video{i}.npz", arrays)
  result, _ = _evaluate(tmp_path, folders / "real", tmp_path / "cache")
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
  result, measured = _evaluate(tmp_path, real, tmp_path / "cache", _QUICK)
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
  result, _ = _evaluate(folder, folder, tmp_path / "cache", ("alignment",))
  rows = result["summary"]["all"]
  assert rows["av_align"]["reasons"] == {"no_sound": 2}
  assert rows["clip_score"]["reasons"] == {"no_sound": 2}
  assert rows["beat_alignment"]["n"] == 2


def test_different_sizes_or_rates_are_refused_with_the_option_that_helps(
  folders, tmp_path
):
  clip_folders.write_folder(tmp_path / "small", 2, size=16)
  with pytest.raises(clips.ClipError, match=r"16x16 pixels.*--frame_size"):
    _evaluate(tmp_path / "small", folders / "real", tmp_path / "cache")
  result, _ = _evaluate(
    tmp_path / "small",
    folders / "real",
    tmp_path / "cache",
    ("paired",),
    reading=Reading(frame_size=24),
  )
  assert result["protocol"]["width"] == 24
  (tmp_path / "fast").mkdir()
  frames = clip_folders.make_frames(0)
  clips.write_arrays(tmp_path / "fast" / "a.npz", {"frames": frames, "fps": 30})
  with pytest.raises(clips.ClipError, match=r"30.0 fps.*--fps"):
    _evaluate(tmp_path / "fast", folders / "real", tmp_path / "cache")


def test_clips_of_odd_size_can_be_measured(tmp_path):
  clip_folders.write_folder(tmp_path / "a", 2, size=33)
  result, _ = _evaluate(
    tmp_path / "a", tmp_path / "a", tmp_path / "c", _ALL_BUT_NETWORKS
  )
  ssim = result["summary"]["all"]["ssim"]
  assert ssim["n"] == ssim["nulls"]["codec"]["n"] == 2


def test_a_single_clip_has_no_noise_and_no_other_music(tmp_path):
  clip_folders.write_folder(tmp_path / "a", 1)
  result, _ = _evaluate(tmp_path / "a", tmp_path / "a", tmp_path / "c", _QUICK)
  rows = result["summary"]["all"]
  assert "noise unknown" in rows["psnr"]["words"]
  assert rows["av_align"]["words"].startswith("no null")


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
  run = lambda a: _evaluate(
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
  mixed = _evaluate(tmp_path / "mixed", folders / "real", tmp_path, ("fvd",), networks)
  assert mixed[0]["summary"]["all"]["fvd"]["value"] == pytest.approx(0, abs=1e-6)
  # A shorter clip is left out, and there must be at least two.
  for i, length in ((0, 24), (1, 20), (2, 24)):
    arrays = {"frames": clip_folders.make_frames(i)[:length], "fps": 10}
    (tmp_path / "few").mkdir(exist_ok=True)
    clips.write_arrays(tmp_path / "few" / f"{names[i]}.npz", arrays)
  few = lambda: _evaluate(
    tmp_path / "few", folders / "real", tmp_path, ("fvd",), networks
  )[0]["summary"]["all"]["fvd"]
  assert few()["n"] == 2
  assert few()["n_undefined"] == 1 and few()["reasons"] == {"length_differs": 1}
  (tmp_path / "few" / f"{names[0]}.npz").unlink()
  assert few()["reason"] == "too_few_clips" and few()["value"] is None


def test_the_command_evaluates_folders(folders, tmp_path, capsys):
  arguments = [f"--samples={folders / 'noisy'}", f"--output={tmp_path}"]
  arguments += [f"--references={folders / 'real'}", "--metrics=motion,paired"]
  arguments += [f"--cache={folders / 'cache'}", "--fvd_resize=tf1"]
  program.main([*arguments, "--label=Noise"])
  assert "PSNR" in capsys.readouterr().out
  result = json.loads((tmp_path / "result.json").read_text())
  assert result["subject"]["label"] == "Noise"
  assert result["protocol"]["groups"] == ["motion", "paired"]
  assert result["protocol"]["fvd"]["resize"] == "tf1"
  assert result["protocol"]["versions"]["dabfusion_jax"]
  assert len(result["subject"]["samples_hash"]) == 64
  assert result["failures"]["samples"] == {}
  program.main(["tables", f"--output={tmp_path}", str(tmp_path)])
  assert (tmp_path / "tables.md").is_file()


def test_an_unfinished_export_is_reported(folders, tmp_path, capsys):
  (tmp_path / "export").mkdir()
  shutil.copytree(folders / "real", tmp_path / "export" / "samples")
  manifest = {"label": "Half", "num_clips": 9}
  (tmp_path / "export" / "manifest.json").write_text(json.dumps(manifest))
  arguments = [f"--samples={tmp_path / 'export'}", "--metrics=motion"]
  program.main([*arguments, f"--output={tmp_path}", f"--cache={folders / 'cache'}"])
  assert "not finished, it has 8 of 9 clips" in capsys.readouterr().out
  result = json.loads((tmp_path / "result.json").read_text())
  assert "8 of 9" in result["failures"]["samples"]["manifest.json"]


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["--samples=x", "--metrics=beauty"], "unknown name 'beauty'; known: paired"),
    ([], "give --samples, or --checkpoint with --data"),
    (["--samples=x", "--data=y"], "give --samples, or --checkpoint with --data"),
    (["--checkpoint=x", "--data=y", "--num_clips=0"], "must be at least 1, not 0"),
    (["--samples=x", "--fps=nan"], "must be above 0, not nan"),
    (["--samples=x", "--segment_frames=-40"], "must be at least 1, not -40"),
    (["report", "tables"], "unrecognized arguments: tables"),
    (["tables"], "RESULT.json"),
    (["pictures"], "unrecognized arguments: pictures"),
  ],
)
def test_a_wrong_command_line_is_a_usage_error(tmp_path, capsys, arguments, message):
  words = [argument for argument in arguments if not argument.startswith("-")]
  options = [argument for argument in arguments if argument.startswith("-")]
  with pytest.raises(SystemExit) as stopped:
    program.main([*words, f"--output={tmp_path / 'out'}", *options])
  assert stopped.value.code == 2
  assert message in capsys.readouterr().err


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["--samples=absent"], "absent is not a folder"),
    (["--samples=/"], "lies inside the folder of clips /"),
    (["report"], "result.json is not a result"),
    (["tables", "absent.json"], "absent.json is not a result"),
  ],
)
def test_what_cannot_be_evaluated_is_one_line(tmp_path, arguments, message):
  with pytest.raises(SystemExit, match=f"^evaluate: .*{message}") as stopped:
    program.main([*arguments, f"--output={tmp_path / 'out'}"])
  assert "\n" not in str(stopped.value)


def test_what_stage_1_rebuilds_is_measured_beside_the_frozen_frame(folders, tmp_path):
  """A stage 1 that loses one grey level, and one that rebuilds the first frame only."""
  darker = lambda clip: dataclasses.replace(clip, frames=clip.frames - np.uint8(1))
  evaluate_by = lambda apply, version: _evaluate(
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
    result, measured = _evaluate(
      folder, folder, cache, ("alignment",), beats_late_seconds=seconds
    )
    assert result["protocol"]["music_events"]["beats_late_seconds"] == seconds
    return measured.events[0].beats

  np.testing.assert_array_equal(evaluate_late("beat_times", LATE_SECONDS), beats)
  uncorrected = evaluate_late("beat_times", 0.0)
  np.testing.assert_allclose(uncorrected, beats + LATE_SECONDS)
  np.testing.assert_array_equal(evaluate_late("true_beat_times", 0.0), beats)


def test_repeated_frames_of_chained_clips_are_dropped_and_real_clips_cut(tmp_path):
  """Each segment has 8 frames and begins with the last frame of the one before."""
  for i in range(3):
    real = clip_folders.make_frames(i)
    chained = np.concatenate([real[:8], real[7:15], real[14:22]])
    (tmp_path / "ours").mkdir(exist_ok=True)
    (tmp_path / "real").mkdir(exist_ok=True)
    name = f"{clip_folders.name_of(i)}.npz"
    clips.write_arrays(tmp_path / "ours" / name, {"frames": chained, "fps": 10})
    clips.write_arrays(tmp_path / "real" / name, {"frames": real, "fps": 10})
  arguments = [f"--samples={tmp_path / 'ours'}", f"--references={tmp_path / 'real'}"]
  arguments += [f"--output={tmp_path / 'out'}", "--metrics=paired"]
  program.main([*arguments, "--segment_frames=8"])
  result = json.loads((tmp_path / "out" / "result.json").read_text())
  assert result["protocol"]["num_frames"] == 22
  assert result["protocol"]["segment_frames"] == 8
  assert result["summary"]["all"]["psnr"]["mean"] == 100  # frame by frame the same


def test_the_frozen_null_of_another_length_is_not_taken_from_the_cache(tmp_path):
  """Real clips are cut to the length of the chains, which are read alike."""
  for i in range(2):
    real = clip_folders.make_frames(i)
    for folder, frames in (("short", real[:8]), ("long", real[:16]), ("real", real)):
      (tmp_path / folder).mkdir(exist_ok=True)
      path = tmp_path / folder / f"{clip_folders.name_of(i)}.npz"
      clips.write_arrays(path, {"frames": frames, "fps": 10})

  def frozen(folder, cache):
    arguments = [f"--samples={tmp_path / folder}", f"--references={tmp_path / 'real'}"]
    arguments += [f"--output={tmp_path / 'out'}", f"--cache={tmp_path / cache}"]
    program.main([*arguments, "--metrics=paired", "--segment_frames=8"])
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    return result["summary"]["all"]["psnr"]["nulls"]["frozen"]["mean"]

  short = frozen("short", "cache")
  assert frozen("long", "cache") == frozen("long", "other") != short


def test_beats_tracked_in_a_clip_are_continued_to_its_edges():
  beats = continue_beats(np.array([0.7, 1.2, 1.7, 2.2]), 4.0)
  np.testing.assert_allclose(beats, np.arange(-0.3, 4.3, 0.5), atol=1e-9)
  assert len(continue_beats(np.array([1.0]), 4.0)) == 1
  np.testing.assert_allclose(
    continue_beats(np.array([0.0, 0.5]), 1.0), [-0.5, 0, 0.5, 1.0]
  )
