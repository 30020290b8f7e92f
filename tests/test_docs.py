"""What the documentation names exists: files, commands and settings."""

import pathlib
import re

import pytest

from configs import autoencoder, diffusion
from dabfusion_jax.settings.mapping import flatten

_ROOT = pathlib.Path(__file__).parent.parent
_HISTORY = {"CHANGELOG.md", "docs/history.md"}
PAGES = sorted(
  {
    path.relative_to(_ROOT).as_posix()
    for folder in (".", "docs", "launch", "dabfusion_jax/demo_weights")
    for path in (_ROOT / folder).glob("*/*.md" if "weights" in folder else "*.md")
  }
  - _HISTORY
)
SETTINGS = {
  key
  for config in (autoencoder, diffusion)
  for key in flatten(config.get_config("paper").to_dict())
}

_FOLDERS = (
  "dabfusion_jax|data_pipeline|configs|launch|tests|benchmarks|docs|requirements"
)
_PATH = re.compile(rf"(?<![\w./-])(?:{_FOLDERS}|\.ci|\.github)/[\w/.-]*[\w/]")
_COMMAND = re.compile(
  r"python -m ((?:dabfusion_jax|data_pipeline|launch|benchmarks)[\w.]*\w)"
)
_GROUPS = "|".join(sorted({key.split(".")[0] for key in SETTINGS if "." in key}))
_SETTING = re.compile(
  rf"--config\.([\w.]+)=|`((?:{_GROUPS})\.(?!(?:py|safetensors)\b)\w+)[=`]"
)


def _text(page):
  return (_ROOT / page).read_text(encoding="utf-8")


def test_there_are_pages():
  assert {"README.md", "CONTRIBUTING.md", "docs/architecture.md"} <= set(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_files_named_by_a_page_exist(page):
  paths = set(_PATH.findall(_text(page)))
  assert not {path for path in paths if not (_ROOT / path).exists()}


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_a_page_are_modules(page):
  modules = set(_COMMAND.findall(_text(page)))
  files = {name: _ROOT / f"{name.replace('.', '/')}.py" for name in modules}
  assert not {name for name, file in files.items() if not file.is_file()}


@pytest.mark.parametrize("page", PAGES)
def test_settings_named_by_a_page_are_settings(page):
  names = {flag or quoted for flag, quoted in _SETTING.findall(_text(page))}
  assert not names - SETTINGS
