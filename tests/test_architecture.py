"""The layout is a law: imports point down, and each folder knows only what it may."""

import ast
import functools
import pathlib
import subprocess
import sys

import pytest

_ROOT = pathlib.Path(__file__).parent.parent
# The parts of data_pipeline that everything but the numerics may use: errors, whole
# files, command lines, and the restricted unpickler.
_COMMON = {
  "data_pipeline.errors",
  "data_pipeline.files",
  "data_pipeline.cli",
  "data_pipeline.locks",
  "data_pipeline.numpy_pickle",
  "data_pipeline.weights",
}
_JAX = {"jax", "jaxtyping", "numpy"}
_NUMERICS = _JAX | {"flax", "scipy", "cv2", "dabfusion_jax.ops"}
_LIBRARIES = {"absl", "etils", "flax", "optax", "safetensors", "tqdm"} | _JAX

# Folder -> the law in one line, and what it may import beside the standard library.
LAWS = {
  "dabfusion_jax/ops": ("pure functions of arrays", _JAX),
  "dabfusion_jax/models": ("Linen modules; no config, mesh or file", _NUMERICS),
  "dabfusion_jax/diffusion": ("schedule, process, guidance, samplers", _NUMERICS),
  "dabfusion_jax/losses": ("losses of arrays", _NUMERICS),
  "dabfusion_jax/metrics": ("arrays and event times in, numbers out", _NUMERICS),
  "dabfusion_jax/stages": (
    "the only meeting point of models, diffusion and losses",
    _NUMERICS | {f"dabfusion_jax.{n}" for n in ("models", "diffusion", "losses")},
  ),
  "dabfusion_jax/parallel": (
    "devices and shardings; no model",
    _LIBRARIES | _COMMON | {"jaxlib", "data_pipeline.workers"},
  ),
  "dabfusion_jax/settings": (
    "typed settings; no jax",
    {"absl", "ml_collections"} | _COMMON,
  ),
  "dabfusion_jax/pretrained": (
    "third-party weights as files; no network",
    {"numpy", "safetensors", "flax.traverse_util"} | _COMMON,
  ),
  "dabfusion_jax/people": (
    "people in pictures: found, cut out, moved; no model of ours",
    {"PIL", "jax", "jaxtyping", "numpy", "scipy", "dabfusion_jax.ops"}
    | {"dabfusion_jax.pretrained", "data_pipeline.workers", "threadpoolctl"}
    | {"data_pipeline.extras", "torch", "transformers"}  # Segment Anything
    | _COMMON,
  ),
  "dabfusion_jax/storage": (
    "files of runs and models",
    _LIBRARIES | _COMMON | {"orbax", "huggingface_hub", "dabfusion_jax.settings"},
  ),
  "dabfusion_jax/training": (
    "the loop and its hooks; knows stages by their protocol only",
    _LIBRARIES
    | _COMMON
    | {"PIL", "clu", "tensorboardX", "dabfusion_jax.stages.base"}
    | {f"dabfusion_jax.{n}" for n in ("parallel", "settings", "storage")},
  ),
  "dabfusion_jax/resident": (
    "training clips or their latents on the device, which makes the batches",
    {"absl", "grain", "jax", "jaxtyping", "numpy", "dabfusion_jax.ops"}
    | {"dabfusion_jax.parallel", "data_pipeline.errors", "data_pipeline.records"}
    | {"data_pipeline.workers"},
  ),
  "dabfusion_jax/web": (
    "the web app: limits, turns and pictures of a dance; no network",
    {"PIL", "gradio", "jaxtyping", "numpy", "scipy", "dabfusion_jax.pipeline"}
    | {"dabfusion_jax.inference", "dabfusion_jax.metrics", "data_pipeline.media"}
    | _COMMON,
  ),
  "configs": ("settings as ml_collections", {"ml_collections", "configs"}),
  "data_pipeline": (
    "data without networks: nothing of dabfusion_jax",
    {"PIL", "absl", "apache_beam", "array_record", "av", "etils", "fsspec", "grain"}
    | {"jax", "jaxtyping", "librosa", "numba", "numpy", "pillow_heif", "safetensors"}
    | {"scipy", "tensorflow_datasets", "threadpoolctl", "torch", "tqdm"}
    | {"transformers"},
  ),
}
# Folder or file -> what it must not know. The floors above numerics and storage.
FORBIDDEN = {
  "dabfusion_jax/inference": {"dabfusion_jax.training", "dabfusion_jax.evaluation"},
  "dabfusion_jax/config.py": {"dabfusion_jax.training", "data_pipeline.records"},
  "dabfusion_jax/pipeline.py": {"dabfusion_jax.training", "dabfusion_jax.evaluation"},
  "dabfusion_jax/web": {"dabfusion_jax.training", "dabfusion_jax.evaluation"},
  "dabfusion_jax/evaluation/reading": {
    "dabfusion_jax.evaluation.scoring",
    "dabfusion_jax.evaluation.reporting",
    "dabfusion_jax.evaluation.study",
    "dabfusion_jax.training",
  },
  "dabfusion_jax/evaluation/scoring": {
    "dabfusion_jax.evaluation.reporting",
    "dabfusion_jax.evaluation.study",
    "dabfusion_jax.training",
  },
  "dabfusion_jax/evaluation/reporting": {
    "dabfusion_jax.evaluation.study",
    "dabfusion_jax.training",
  },
  "dabfusion_jax/evaluation/study": {"dabfusion_jax.training"},
}
# One importer each: these libraries are in motion, optional, or bring tensorflow.
ONLY_IN = {
  "orbax": "dabfusion_jax/storage/checkpointing.py",
  "clu": "dabfusion_jax/training/writers.py",
  "jaxlib": "dabfusion_jax/parallel/hardware.py",
  "tensorboardX": "dabfusion_jax/training/writers.py",
  "gradio": "dabfusion_jax/web/page.py",
}
# One importer in the package; data_pipeline has a music encoder in torch.
ONLY_IN_PACKAGE = {
  "torch": "dabfusion_jax/people/sam.py",
  "transformers": "dabfusion_jax/people/sam.py",
}
# `ls dabfusion_jax/*.py`: the programs and the public API.
TOP = {"__init__", "config", "pipeline", "train", "sample", "export", "evaluate"}
TOP |= {"claims", "publish", "weights", "latents", "choreograph"}
TOP |= {"__main__", "app", "doctor"}


def _files(place):
  path = _ROOT / place
  return [path] if path.suffix == ".py" else sorted(path.rglob("*.py"))


@functools.cache
def _imports(path):
  """Returns the dotted names of all that a file imports."""
  names = set()
  for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
    if isinstance(node, ast.Import):
      names |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      names |= {f"{node.module}.{alias.name}" for alias in node.names}
  return names


def _is_in(name, packages):
  return any(name == p or name.startswith(p + ".") for p in packages)


@pytest.mark.parametrize("place", LAWS)
def test_a_folder_imports_only_what_its_law_allows(place):
  law, allowed = LAWS[place]
  own = place.replace("/", ".")
  allowed = allowed | {own} | set(sys.stdlib_module_names)
  assert _files(place)
  for path in _files(place):
    wrong = {name for name in _imports(path) if not _is_in(name, allowed)}
    assert not wrong, f"{path.relative_to(_ROOT)} ({law}) imports {sorted(wrong)}"


@pytest.mark.parametrize("place", FORBIDDEN)
def test_imports_point_down(place):
  programs = {f"dabfusion_jax.{name}" for name in TOP - {"__init__"}}
  may_use = {
    "dabfusion_jax/pipeline.py": {"dabfusion_jax.config"},
    "dabfusion_jax/inference": {"dabfusion_jax.config"},
    "dabfusion_jax/web": {"dabfusion_jax.pipeline"},
    "dabfusion_jax/evaluation/study": {
      "dabfusion_jax.config",
      "dabfusion_jax.pipeline",
    },
  }
  forbidden = FORBIDDEN[place] | (programs - may_use.get(place, set()))
  assert _files(place)
  for path in _files(place):
    wrong = {name for name in _imports(path) if _is_in(name, forbidden)}
    assert not wrong, f"{path.relative_to(_ROOT)} may not import {sorted(wrong)}"


@pytest.mark.parametrize(("library", "home"), (ONLY_IN | ONLY_IN_PACKAGE).items())
def test_an_unstable_library_has_one_importer(library, home):
  places = _files("dabfusion_jax")
  if library in ONLY_IN:
    places += _files("data_pipeline")
  importers = {
    str(path.relative_to(_ROOT))
    for path in places
    if any(_is_in(name, {library}) for name in _imports(path))
  }
  assert importers == {home}


def test_the_top_of_the_package_holds_programs_and_the_public_api():
  assert {path.stem for path in (_ROOT / "dabfusion_jax").glob("*.py")} == TOP


def test_the_public_api_is_importable_and_documented():
  import dabfusion_jax

  assert set(dabfusion_jax.__all__) <= set(dir(dabfusion_jax))
  for name in dabfusion_jax.__all__:
    assert getattr(dabfusion_jax, name).__doc__
  with pytest.raises(AttributeError, match="nothing_of_it"):
    _ = dabfusion_jax.nothing_of_it


def test_inference_loads_no_trainer_and_configures_nothing():
  script = """
import logging, sys
from absl import logging as absl_logging
before = list(absl_logging.get_absl_logger().filters)
from dabfusion_jax import Dance, DancePipeline
loaded = [name for name in sys.modules if name.startswith(UNWANTED)]
assert not loaded, loaded
assert absl_logging.get_absl_logger().filters == before
"""
  unwanted = (
    "dabfusion_jax.training",
    "clu",
    "tensorboardX",
    "orbax",
    "tensorflow",
    "grain",
  )
  script = script.replace("UNWANTED", repr(unwanted))
  done = subprocess.run(
    [sys.executable, "-c", script], cwd=_ROOT, capture_output=True, text=True
  )
  assert done.returncode == 0, done.stderr


_CODE = ("dabfusion_jax", "data_pipeline", "benchmarks", "launch", "configs")


def _names_of(path):
  """Returns what a module defines, assigns, imports, or names in a string.

  The last, because a package may load its names when they are asked for.
  """
  names, nodes = set(), [ast.parse(path.read_text(encoding="utf-8"))]
  while nodes:
    node = nodes.pop()
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
      names.add(node.name)
      continue  # what is inside is nobody else's
    nodes += ast.iter_child_nodes(node)
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
      names.add(node.id)
    elif isinstance(node, (ast.Import, ast.ImportFrom)):
      names |= {alias.asname or alias.name.split(".")[0] for alias in node.names}
    elif isinstance(node, ast.Constant) and path.name == "__init__.py":
      names.add(node.value)
  return names


def _has(name):
  """Returns whether a dotted name of ours is a module, or something in one."""
  place = _ROOT / name.replace(".", "/")
  if place.is_dir() or place.with_suffix(".py").is_file():
    return True
  module, _, last = name.rpartition(".")
  place = _ROOT / module.replace(".", "/")
  path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
  return path.is_file() and last in _names_of(path)


@pytest.mark.parametrize("place", [*_CODE, "tests", "docs"])
def test_what_is_imported_of_our_own_exists(place):
  """Also where no test imports a module: benchmarks need what is not installed here."""
  for path in sorted((_ROOT / place).rglob("*.py")):
    ours = [name for name in _imports(path) if name.split(".")[0] in _CODE]
    missing = [name for name in ours if not _has(name)]
    assert not missing, f"{path} imports {missing}"
