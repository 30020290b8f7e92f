"""The command line of `evaluate`: what it writes, reports and refuses."""

import json
import shutil

import clip_folders
import numpy as np
import pytest
from evaluations import write_folders

from dabfusion_jax import evaluate as program
from dabfusion_jax.evaluation.reading import clips, features
from dabfusion_jax.evaluation.reading.networks import Networks
from dabfusion_jax.evaluation.reporting import evaluator


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
  return write_folders(tmp_path_factory.mktemp("folders"))


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
  manifest = {"format": 2, "label": "Half", "num_clips": 9}
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
    (["--samples=x", "--segment_frames=9", "--poses=x"], ".*leave out one"),
    (["--samples=/"], "lies inside the folder of clips /"),
    (["report"], "result.json is not a result"),
    (["tables", "absent.json"], "absent.json is not a result"),
  ],
)
def test_what_cannot_be_evaluated_is_one_line(tmp_path, arguments, message):
  with pytest.raises(SystemExit, match=f"^evaluate: .*{message}") as stopped:
    program.main([*arguments, f"--output={tmp_path / 'out'}"])
  assert "\n" not in str(stopped.value)


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


def fake_logits(variables, videos, resize):
  """Features that tell clips apart, in place of I3D's."""
  means = videos.astype(np.float32).mean((2, 3)).reshape(len(videos), -1)
  return np.tile(means, 10)[:, :400]


def test_processes_fill_one_cache_from_which_another_writes_the_result(
  folders, tmp_path, monkeypatch, capsys
):
  """Real clips without a counterpart have a part in FVD."""
  monkeypatch.setattr(features.i3d, "i3d_logits", fake_logits)
  monkeypatch.setattr(Networks, "__getitem__", lambda self, name: {})
  networks = Networks({"i3d": "fake"}, {})
  monkeypatch.setattr(evaluator, "open_networks", lambda names: networks)
  samples = tmp_path / "samples"
  shutil.copytree(folders / "noisy", samples)
  for path in sorted(samples.iterdir())[:3]:
    path.unlink()
  arguments = [f"--samples={samples}", f"--references={folders / 'real'}"]
  arguments += ["--metrics=paired,alignment,motion,codec,fvd"]
  program.main([*arguments, f"--output={tmp_path / 'alone'}"])

  shared = [*arguments, f"--output={tmp_path / 'shared'}"]
  for index in range(8):  # the first three have real clips only
    program.main([*shared, f"--process_index={index}", "--process_count=8"])
    assert f"share {index} of 8" in capsys.readouterr().out
  assert not (tmp_path / "shared" / "result.json").exists()
  monkeypatch.setattr(clips, "read_clip", None)  # nothing is left to read
  program.main(shared)
  alone, joined = (
    json.loads((tmp_path / name / "result.json").read_text())
    for name in ("alone", "shared")
  )
  assert joined["summary"] == alone["summary"]
  assert joined["protocol"] == alone["protocol"]
  assert joined["summary"]["all"]["fvd"]["n_real"] == 8


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["--process_index=2", "--process_count=2"], "no share 2 of 2; they count from 0"),
    (["--process_index=0"], "Give --process_index and --process_count together"),
    (
      ["--distributed", "--process_index=0", "--process_count=2"],
      "find out their numbers",
    ),
  ],
)
def test_a_share_that_cannot_be_is_one_line(folders, tmp_path, arguments, message):
  with pytest.raises(SystemExit, match=f"^evaluate: .*{message}"):
    program.main([f"--samples={folders / 'real'}", f"--output={tmp_path}", *arguments])


def test_a_share_of_a_checkpoint_is_refused(tmp_path, capsys):
  arguments = ["--checkpoint=c", "--data=d", "--process_index=0", "--process_count=2"]
  with pytest.raises(SystemExit) as stopped:
    program.main([*arguments, f"--output={tmp_path}"])
  assert stopped.value.code == 2
  assert "share that first (dabfusion_jax.export)" in capsys.readouterr().err
