"""What pip installs is whole: programs by name, weights, configs, a doctor."""

import pathlib
import subprocess
import sys
import zipfile

import pytest

from dabfusion_jax import __main__ as programs
from dabfusion_jax import doctor
from dabfusion_jax.settings.config_files import find_config, with_found_config
from dabfusion_jax.storage import saved_stage

_ROOT = pathlib.Path(__file__).parent.parent


# --- Programs by name -------------------------------------------------------------


def test_every_program_has_a_name_and_a_line():
  files = {*_ROOT.glob("dabfusion_jax/*.py"), *_ROOT.glob("data_pipeline/*.py")}
  runnable = {
    ".".join(file.relative_to(_ROOT).with_suffix("").parts)
    for file in files
    if 'if __name__ == "__main__"' in file.read_text() and file.stem != "__main__"
  }
  named = set(programs.PROGRAMS.values())
  assert runnable == named - {"data_pipeline.synthdance.generate"}
  assert all(programs.summary(module) for module in named)


def test_a_program_is_run_with_the_words_after_its_name(monkeypatch, capsys):
  monkeypatch.delitem(sys.modules, "dabfusion_jax.weights", raising=False)
  monkeypatch.setattr(sys, "argv", ["dabfusion", "weights", "import", "--help"])
  with pytest.raises(SystemExit) as ended:
    programs.main()
  assert ended.value.code == 0
  assert "dabfusion_jax.weights import" in capsys.readouterr().out


def test_an_unknown_program_is_a_usage_error_that_names_the_known_ones(capsys):
  with pytest.raises(SystemExit) as ended:
    programs.main(["dance"])
  assert ended.value.code == 2
  said = capsys.readouterr().err
  assert "'dance'" in said and all(name in said for name in programs.PROGRAMS)
  with pytest.raises(SystemExit):
    programs.main(["sampel"])
  assert capsys.readouterr().err == (
    "dabfusion: error: argument PROGRAM: there is no program 'sampel'; did you mean"
    " sample? (see --help)\n"
  )


def test_without_a_program_all_of_them_are_listed(capsys):
  with pytest.raises(SystemExit) as ended:
    programs.main([])
  assert ended.value.code == 2
  listed = capsys.readouterr().err
  for name, module in programs.PROGRAMS.items():
    assert f"  {name} " in listed and programs.summary(module) in listed


# --- Doctor -----------------------------------------------------------------------


def test_the_doctor_names_the_command_for_each_missing_weight(monkeypatch, tmp_path):
  monkeypatch.setenv("DABFUSION_WEIGHTS", str(tmp_path))
  lines = dict(line.split(": ", 1) for line in list(doctor.weights_lines())[1:])
  assert set(lines) == set(doctor.USES)
  assert lines["pictures of people"] == (
    "python -m dabfusion_jax.weights import selfie blazepose-detector blazepose-full"
  )
  assert lines["CLIPScore"].count("--file=") == 2


def test_an_extra_that_is_not_installed_comes_with_its_command(monkeypatch):
  monkeypatch.setattr(doctor, "requirements", lambda extra: ["numpy", "none-such"])
  line = doctor.extra_line("eval")
  assert 'pip install "dabfusion_jax[eval]"' in line and "numpy" in line
  monkeypatch.setattr(doctor, "requirements", lambda extra: ["numpy"])
  assert "pip" not in doctor.extra_line("eval")


@pytest.mark.parametrize("is_there", [True, False])
def test_the_doctor_fails_where_no_dance_can_be_made(monkeypatch, capsys, is_there):
  def missing(name="dance_e"):
    raise saved_stage.SavedStageError("This copy was built without weights.")

  if not is_there:
    monkeypatch.setattr(saved_stage, "shipped", missing)
  with pytest.raises(SystemExit) as ended:
    doctor.main([])
  assert ended.value.code == (0 if is_there else 1)
  printed = capsys.readouterr().out
  assert ("built without weights" in printed) != is_there
  assert doctor.__version__ in printed and sys.executable in printed


# --- The wheel --------------------------------------------------------------------

IN_THE_WHEEL = """
import pathlib, sys
sys.path[:] = [p for p in sys.path if pathlib.Path(p or ".").resolve() != REPOSITORY]
sys.path.insert(0, WHEEL)
from dabfusion_jax.settings.config_files import find_config, load_config
for stage in ("autoencoder", "diffusion"):
  path = find_config(f"configs/{stage}.py")
  assert str(path).startswith(WHEEL), path
  print(load_config(path, "demo").num_steps)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
  """A wheel built from this tree."""
  pytest.importorskip("hatchling")
  folder = tmp_path_factory.mktemp("wheel")
  command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder]
  subprocess.run(command, cwd=_ROOT, check=True, capture_output=True)
  (path,) = folder.glob("*.whl")
  return path


def test_a_wheel_holds_all_that_is_tracked_of_its_packages(wheel):
  command = ["git", "ls-files", "dabfusion_jax", "data_pipeline", "configs"]
  done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True)
  if done.returncode:
    pytest.skip("not a clone")
  tracked = {
    name.replace("configs/", "dabfusion_jax/configs/", 1)
    if name.startswith("configs/")
    else name
    for name in done.stdout.split()
    if (_ROOT / name).is_file()
  }
  with zipfile.ZipFile(wheel) as archive:
    names = set(archive.namelist())
    (entry_points,) = [name for name in names if name.endswith("entry_points.txt")]
    assert "dabfusion = dabfusion_jax.__main__:main" in str(archive.read(entry_points))
  assert any(name.endswith("dance_e/model.safetensors") for name in tracked)
  assert not tracked - names
  packaged = {name for name in names - tracked if ".dist-info/" not in name}
  assert not {name for name in packaged if not name.endswith(".py")}


def test_the_configs_of_a_wheel_are_found_in_any_folder(wheel, tmp_path):
  zipfile.ZipFile(wheel).extractall(tmp_path / "site")
  script = IN_THE_WHEEL.replace("WHEEL", repr(str(tmp_path / "site")))
  script = script.replace("REPOSITORY", f"pathlib.Path({str(_ROOT)!r})")
  done = subprocess.run(
    [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True
  )
  assert done.returncode == 0, done.stderr
  assert len(done.stdout.split()) == 2


def test_a_config_in_the_current_folder_comes_first(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  here = pathlib.Path("configs/autoencoder.py")
  assert find_config(here) == _ROOT / here  # beside the package of a clone
  words = ["train", "--config", f"{here}:demo", f"--config={here}", "--workdir=x"]
  found = f"{_ROOT / here}"
  assert with_found_config(words) == [
    "train", "--config", f"{found}:demo", f"--config={found}", "--workdir=x"
  ]  # fmt: skip
  (tmp_path / "configs").mkdir()
  here.touch()
  assert find_config(here) == here
  for none in ("configs/none.py", "autoencoder.py", "/configs/autoencoder.py"):
    assert find_config(none) == pathlib.Path(none)


def test_the_doctor_reports_packages_of_an_installed_copy_only(monkeypatch):
  def absent(name):
    raise doctor.importlib.metadata.PackageNotFoundError(name)

  monkeypatch.setattr(doctor.importlib.metadata, "requires", absent)
  lines, is_whole = doctor.package_lines()
  assert is_whole and "pip install --editable ." in lines[0]
