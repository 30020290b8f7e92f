"""What people type and where they run it: paths, outputs, checkpoints, locks."""

import argparse
import ast
import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest

from dabfusion_jax import app, sample, train
from dabfusion_jax.__main__ import PROGRAMS
from dabfusion_jax.evaluation.reporting import evaluator
from dabfusion_jax.inference import inputs
from dabfusion_jax.inference.inputs import InputError
from dabfusion_jax.inference.options import DanceOptions
from dabfusion_jax.parallel import hardware
from dabfusion_jax.sample import check_output
from dabfusion_jax.settings.config_files import load_config
from dabfusion_jax.settings.mapping import to_mapping
from dabfusion_jax.settings.stages import read_settings
from dabfusion_jax.storage import checkpoint_files, saved_stage
from dabfusion_jax.storage.checkpointing import CheckpointError
from dabfusion_jax.storage.saved_stage import weights_that_fit
from data_pipeline import cli, files
from data_pipeline.errors import UserError
from data_pipeline.locks import LOCK, LockedError, hold_folder


def test_a_tilde_is_the_home_folder_in_every_path(monkeypatch):
  monkeypatch.setenv("HOME", "/home/me")
  assert cli.path("~/a") == "/home/me/a"
  assert str(cli.local_path("~/a")) == "/home/me/a"
  assert cli.paths("~/a,b") == ("/home/me/a", "b")
  assert cli.path("gs://bucket/~") == "gs://bucket/~"
  with pytest.raises(argparse.ArgumentTypeError, match="address"):
    cli.local_path("s3://bucket/a.mp4")


def test_a_wrong_number_or_word_is_told_what_would_be_right(capsys):
  wrong = {
    "duration": ("soon", "-1", "inf", "1:75", "0:00"),
    "music_start": ("later",),
    "bpm": ("fast",),
    "eta": ("none",),
    "guidance_scale": ("high",),
    "num_frames": ("1.5",),
    "num_inference_steps": ("many",),
    "size": ("big",),
    "pick": ("me",),
    "seed": ("x" * 90,),
    "joining": ("glue",),
  }
  for name, values in wrong.items():
    for value in values:
      with pytest.raises(SystemExit) as ended:
        sample.make_parser().parse_args([f"--{name}={value}"])
      said = capsys.readouterr().err.splitlines()[-1]
      assert ended.value.code == 2 and f"argument --{name}: " in said
      assert "such as" in said or "choose from" in said, said
      assert len(said) < 160
  for value in ("soon", "0", "70000"):
    with pytest.raises(SystemExit):
      app.make_parser().parse_args([f"--port={value}"])
    said = capsys.readouterr().err.splitlines()[-1]
    assert "such as" in said or "from 1 to 65535" in said


def test_a_duration_may_be_minutes_and_seconds():
  for text, value in (("1:30", 90), ("0:02.5", 2.5), ("12.5", 12.5), ("full", "full")):
    assert sample.make_parser().parse_args([f"--duration={text}"]).duration == value
    if text != "full":
      assert (
        sample.make_parser().parse_args([f"--music_start={text}"]).music_start == value
      )


def test_no_program_takes_a_number_by_a_type_that_says_nothing():
  """`type=int` answers "invalid int value"; the types of `cli` say what is meant."""
  root = pathlib.Path(cli.__file__).parents[1]
  bare = []
  for package in ("dabfusion_jax", "data_pipeline"):
    for path in (root / package).rglob("*.py"):
      for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.keyword) and node.arg == "type":
          if getattr(node.value, "id", None) in ("int", "float"):
            bare.append(f"{path}:{node.value.lineno}")
  assert not bare


# --- Outputs ----------------------------------------------------------------------


def test_an_output_that_cannot_be_written_is_named_before_the_work(tmp_path):
  (tmp_path / "a.mp4").mkdir()
  (tmp_path / "file").touch()
  for path, reason in (("a.mp4", "is a folder"), ("file/a.mp4", "cannot|is a file")):
    with pytest.raises(UserError, match=reason):
      check_output(tmp_path / path)
  with pytest.raises(UserError, match="is a file"):
    files.check_writable(tmp_path / "file", is_folder=True)


@pytest.mark.parametrize(
  ("suffix", "what"),
  [(".mp4", ""), (".png", " with its contact sheet"), (".json", " with its settings")],
)
def test_a_file_that_is_no_dance_is_not_overwritten(tmp_path, suffix, what):
  (tmp_path / f"holiday{suffix}").write_text("{}")
  said = f"would overwrite .*holiday{suffix}{what}; choose"
  for inputs_of_it in ((), (str(tmp_path / f"holiday{suffix}"),)):
    with pytest.raises(UserError, match=said):
      check_output(tmp_path / "holiday.mp4", *inputs_of_it)
  (tmp_path / "holiday.json").write_text('{"beat_times": []}')
  check_output(tmp_path / "holiday.mp4")  # an earlier dance
  with pytest.raises(UserError, match=r"must end in .*, such as .*/a.mp4, or be a f"):
    check_output(tmp_path / "a.avi")
  check_output(tmp_path / "new" / "A.MP4")
  assert not list((tmp_path / "new").iterdir())


def test_a_dance_overwrites_only_a_dance(tmp_path):
  (tmp_path / "dance.mp4").touch()  # such as one of a temporary name
  check_output(tmp_path / "dance.mp4")
  (tmp_path / "dance.png").write_text("mine")
  with pytest.raises(UserError, match="would overwrite .*dance.png"):
    check_output(tmp_path / "dance.mp4")
  settings = {"beat_times": [], "video": ".mp4"}
  (tmp_path / "dance.json").write_text(json.dumps(settings))
  check_output(tmp_path / "dance.mp4")
  with pytest.raises(UserError, match="would overwrite .*dance.png with its contact"):
    check_output(tmp_path / "dance.gif")  # whose sheet and settings these are not
  (tmp_path / "dance.json").write_text(json.dumps(["beat_times"]))
  with pytest.raises(UserError, match="would overwrite"):
    check_output(tmp_path / "dance.mp4")


def test_an_error_of_a_write_names_the_file_that_was_asked_for(tmp_path):
  with pytest.raises(OSError) as error:
    files.write_text(tmp_path / "none" / "a.txt", "")
  assert error.value.filename == str(tmp_path / "none" / "a.txt")


# --- Checkpoints ------------------------------------------------------------------


def test_a_checkpoint_may_be_named_by_its_file_its_step_or_its_bundled_name(tmp_path):
  for name, step in (("", None), ("model.safetensors", None), ("checkpoints", None),
                     ("checkpoints/600", 600)):  # fmt: skip
    folder, found = saved_stage.locate(tmp_path / name)
    assert (os.fspath(folder), found) == (str(tmp_path), step)
  assert saved_stage.locate("dance_b")[0].name == "dance_b"
  assert (saved_stage.locate("dance_b")[0] / "config.json").exists()
  for name in (saved_stage.shipped("dance_b"), "dance_b"):
    assert saved_stage.name_of(name) == "dance_b"
  for name in ("runs/dance_b", "gs://bucket/dance_b", "somebody/dances"):
    assert saved_stage.name_of(name) == name


@pytest.mark.parametrize(
  ("stage", "named"), [("diffusion", True), ("autoencoder", False)]
)
def test_a_misspelt_checkpoint_is_told_the_bundled_names(tmp_path, stage, named):
  with pytest.raises(UserError, match="people_f holds no trained") as error:
    saved_stage.load_stage(tmp_path / "people_f", stage)
  names = ", ".join(saved_stage.SHIPPED)
  assert str(error.value).endswith(f"bundled weights: {names}.") == named


def test_the_newest_checkpoint_is_that_of_the_highest_step_whatever_the_clock(tmp_path):
  for step, seconds in ((9, 2e9), (10, 1e9)):  # the clock was set back between them
    folder = tmp_path / checkpoint_files.FOLDER / str(step)
    folder.mkdir(parents=True)
    os.utime(folder, (seconds, seconds))
  assert checkpoint_files.latest_step(tmp_path) == 10


# --- Inputs -----------------------------------------------------------------------


@pytest.mark.parametrize(
  "image",
  [
    np.zeros((20, 20, 3), np.float32),
    np.zeros((20, 20, 4), np.uint8),
    np.zeros((20, 20), np.uint8),
    np.zeros((1, 20, 20, 3), np.uint8),
  ],
)
def test_an_array_that_is_no_picture_is_refused(image):
  with pytest.raises(InputError, match="uint8 .height, width, 3."):
    inputs.frame_image(image, "letterbox", 16, False)


def test_a_picture_of_pil_is_read_as_its_file(tmp_path):
  """Turned upright, on white, whatever its mode."""
  grey = PIL.Image.fromarray(np.arange(24 * 20, dtype=np.uint8).reshape(24, 20))
  exif = PIL.Image.Exif()
  exif[274] = 6  # a quarter turn
  grey.save(tmp_path / "a.png", exif=exif)
  clear = PIL.Image.new("RGBA", (20, 24), (255, 0, 0, 0))
  clear.save(tmp_path / "b.png")
  for name in ("a.png", "b.png"):
    with PIL.Image.open(tmp_path / name) as image:
      np.testing.assert_array_equal(
        inputs.read_picture(image), inputs.read_picture(tmp_path / name)
      )
  assert inputs.read_picture(clear).min() == 255
  with pytest.raises(UserError, match="The picture: 2x2 pixels are too few"):
    inputs.read_picture(PIL.Image.new("RGB", (2, 2)))


def test_numbers_of_numpy_are_options_that_can_be_recorded():
  asked = DanceOptions(seed=np.int64(3), bpm=np.float64(120))
  assert json.loads(json.dumps(dataclasses.asdict(asked)))["seed"] == 3
  assert asked == DanceOptions(seed=3, bpm=120.0)


@pytest.mark.parametrize("value", [10**400, -1, float("nan"), None, "1"])
def test_a_number_out_of_range_is_named_in_a_short_line(value):
  with pytest.raises(InputError, match="seed must be from 0 to 4294967295") as error:
    inputs.check_number("seed", value, 0, 2**32 - 1)
  assert len(str(error.value)) < 80


@pytest.mark.parametrize("key", ["num_down", "hourglass_blocks"])
@pytest.mark.parametrize("value", [-1, 10**30])
def test_an_absurd_setting_is_refused_at_once(key, value):
  configs = pathlib.Path(__file__).parents[1] / "configs"
  settings = to_mapping(load_config(configs / "autoencoder.py", "smoke"))
  settings["model"][key] = value
  with pytest.raises(UserError, match=f"model.{key} must be from 0 to 16, not {value}"):
    read_settings(settings, strict=False)


# --- Machines ---------------------------------------------------------------------


def test_a_missing_platform_is_one_line(monkeypatch):
  def fail():
    raise AssertionError

  monkeypatch.setattr(hardware.jax, "local_devices", fail)
  monkeypatch.setenv("JAX_PLATFORMS", "cuda")
  with pytest.raises(UserError, match="platform cuda"):
    hardware.check_backend()


def test_a_cpu_is_not_taken_for_the_gpu_that_was_asked_for(monkeypatch):
  monkeypatch.setenv("JAX_PLATFORMS", "cuda,cpu")  # as launch/slurm.sbatch does
  with pytest.raises(UserError, match="platform cuda,cpu .but a CPU"):
    hardware.check_backend()
  monkeypatch.setenv("JAX_PLATFORMS", "cpu")
  hardware.check_backend()


@pytest.mark.parametrize(
  ("error", "said"),
  [
    (MemoryError("17 TiB"), "out of memory"),
    (ImportError("Please install gcsfs"), r"dabfusion_jax\[gcs\]"),
    (ImportError("Install s3fs to access S3"), "s3fs"),
    (PermissionError(13, "Permission denied", "a.mp4"), "a.mp4: Permission denied"),
  ],
)
def test_errors_of_the_machine_are_one_line(error, said):
  with pytest.raises(SystemExit, match=said), cli.one_line_errors("sample"):
    raise error


def test_ctrl_c_is_status_130():
  with pytest.raises(SystemExit) as stopped, cli.one_line_errors("sample"):
    raise KeyboardInterrupt
  assert stopped.value.code == 130


def test_weights_of_another_shape_are_one_line():
  with pytest.raises(UserError, match="do not fit the config.json") as error:
    with weights_that_fit():
      nn.Dense(3).apply({"params": {"kernel": jnp.zeros((2, 2))}}, jnp.zeros((1, 2)))
  assert "\n" not in str(error.value)


def test_a_program_that_could_not_save_ends_at_once(monkeypatch, capsys):
  def fail():
    with cli.one_line_errors("train"):
      raise CheckpointError("Cannot save step 5.")

  ended = []
  monkeypatch.setattr(train, "run_program", fail)
  monkeypatch.setattr(train.os, "_exit", ended.append)
  with pytest.raises(SystemExit):  # the real call does not return
    train.main(["train"])
  assert ended == [1] and capsys.readouterr().err == "train: Cannot save step 5.\n"


def test_programs_begin_without_the_extra_eval_which_an_evaluation_names(monkeypatch):
  names = [PROGRAMS[name] for name in ("evaluate", "claims")]
  code = "import sys; sys.modules['cv2'] = None\n" + f"import {', '.join(names)}"
  subprocess.run([sys.executable, "-c", code], check=True)
  monkeypatch.setitem(sys.modules, "cv2", None)
  monkeypatch.delitem(sys.modules, "dabfusion_jax.evaluation.reading.blazepose", False)
  with pytest.raises(UserError, match=r'cv2.*pip install "dabfusion_jax\[eval\]"'):
    evaluator._open_poses(())


# --- Locks ------------------------------------------------------------------------

HOLD = """
import sys
from data_pipeline.locks import hold_folder
with hold_folder(sys.argv[1]):
  print("held", flush=True)
  sys.stdin.read()
"""


def test_a_held_folder_names_its_holder_and_is_free_once_that_is_dead(tmp_path):
  command = [sys.executable, "-c", HOLD, str(tmp_path)]
  with subprocess.Popen(
    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
  ) as holder:
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(LockedError, match=f"written by process {holder.pid} on"):
      with hold_folder(tmp_path):
        pass
    with hold_folder(tmp_path, "_another_part"):
      pass
    holder.kill()
  with hold_folder(tmp_path):
    pass


def test_what_cannot_be_locked_is_said(tmp_path, monkeypatch, caplog):
  def fail(*unused):
    raise OSError(95, "Operation not supported")

  monkeypatch.setattr("fcntl.flock", fail)
  for folder in (tmp_path, "gs://bucket/run"):
    with hold_folder(folder):
      assert f"{folder} cannot be locked" in caplog.text


def test_a_folder_that_may_not_be_written_is_one_line(tmp_path):
  (tmp_path / "file").touch()
  with pytest.raises(UserError, match="cannot be written|is a file"):
    with hold_folder(tmp_path / "file"):
      pass


@pytest.fixture
def nobody():
  """Lets a test run with the rights of nobody, if it runs as root."""
  if os.geteuid():
    yield
    return
  os.seteuid(65534)
  yield
  os.seteuid(0)


def test_what_another_user_has_left_or_closed_is_one_line(nobody):
  with tempfile.TemporaryDirectory() as place:
    folder = pathlib.Path(place) / "run"
    with hold_folder(folder):
      pass
    (folder / LOCK).chmod(0o400)
    with pytest.raises(UserError, match="run was last written by another user") as left:
      hold_folder(folder).__enter__()
    folder.chmod(0o500)
    with pytest.raises(UserError, match="run cannot be written: .*denied") as closed:
      hold_folder(folder).__enter__()
    assert "\n" not in f"{left.value}{closed.value}"
    folder.chmod(0o700)
