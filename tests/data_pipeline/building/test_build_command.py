"""The command line of `build`: its settings, its refusals, and what it imports."""

import subprocess
import sys

import pytest

from data_pipeline import build
from data_pipeline.building.options import read_arguments, settings_of


def test_the_description_of_a_data_set_does_not_change():
  """Ensures that data sets which were built before do not have to be built again."""
  arguments = read_arguments(
    ["--source=synthdance", "--preset=smoke", "--output=x"], None
  )
  assert settings_of(arguments).description() == {
    "schema_version": 2,
    "source": {"name": "synthdance", "preset": "smoke", "split": "official"},
    "num_frames": 40,
    "fps": 10,
    "frame_size": 64,
    "framing": "letterbox",
    "short": "drop",
    "encoder": {"name": "spectral", "version": 1, "size": 512},
    "train_windows": "random:1",
    "other_windows": "random:1",
    "tempo_prior": False,
  }


@pytest.mark.parametrize(
  ("argument", "message"),
  [
    ("--encoder=vgg", "Unknown music encoder 'vgg'"),
    ("--split=no", "Unknown split 'no'; use index1, index2, official or"),
    ("--split=index1", "The preset 'smoke' has no clips for --split=index1"),
    ("--train_windows=all", "Unknown windows 'all'"),
    ("--frame_size=8", "the minimum is 1 frame of 16 pixels"),
  ],
)
def test_a_wrong_setting_is_one_line(tmp_path, argument, message):
  command = ["--source=synthdance", "--preset=smoke", f"--output={tmp_path}"]
  with pytest.raises(SystemExit) as stopped:
    build.main([*command, argument])
  text = str(stopped.value)
  assert text.startswith("build: ") and message in text and "\n" not in text


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["--source=synthdance", "--preset=huge"], "invalid choice: 'huge'"),
    (["--source=synthdance"], "needs --preset"),
    (["--source=folder"], "needs --videos"),
    (["--source=aist", "--videos=x", "--fps=0"], "must be at least 1, not 0"),
  ],
)
def test_wrong_usage_is_one_line(capsys, arguments, message):
  with pytest.raises(SystemExit) as stopped:
    build.main([*arguments, "--output=x"])
  assert stopped.value.code == 2
  assert message in capsys.readouterr().err.splitlines()[-1]


def test_a_build_with_beam_but_without_its_extra_names_the_extra(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "apache_beam", None)  # as if it were not installed
  monkeypatch.delitem(sys.modules, "data_pipeline.building.beam_build", False)
  command = ["--source=synthdance", "--preset=smoke", f"--output={tmp_path}"]
  with pytest.raises(SystemExit, match=r'run: pip install "dabfusion_jax\[beam\]"'):
    build.main([*command, "--beam=--runner=DirectRunner"])


def test_workers_import_neither_jax_nor_tensorflow():
  program = (
    "import sys, data_pipeline.build, data_pipeline.building.local_build; "
    "print([m for m in ('jax', 'tensorflow', 'tensorflow_datasets', 'grain') "
    "if m in sys.modules])"
  )
  done = subprocess.run(
    [sys.executable, "-c", program], capture_output=True, text=True, check=True
  )
  assert done.stdout.strip() == "[]"


def test_reading_needs_no_tensorflow():
  program = (
    "import sys, data_pipeline.records.loader; print('tensorflow' in sys.modules)"
  )
  done = subprocess.run(
    [sys.executable, "-c", program], capture_output=True, text=True, check=True
  )
  assert done.stdout.strip() == "False"
