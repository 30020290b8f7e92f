"""Imports point down: what each room may know of the others."""

import ast
import pathlib

import pytest

_ROOT = pathlib.Path(__file__).parent.parent
_JAX = {"jax", "jaxtyping", "numpy"}
_NUMERIC = _JAX | {"flax", "dabfusion_jax.ops"}

# Folder or file -> what it may import besides the standard library and its own room.
MAY_IMPORT = {
  "dabfusion_jax/ops": _JAX,
  "dabfusion_jax/models": _NUMERIC,
  "dabfusion_jax/diffusion": _NUMERIC,
  "dabfusion_jax/losses": _NUMERIC,
  "dabfusion_jax/metrics": _NUMERIC | {"scipy", "cv2"},
  "dabfusion_jax/stages": _NUMERIC
  | {"dabfusion_jax.models", "dabfusion_jax.diffusion", "dabfusion_jax.losses"},
  "dabfusion_jax/parallel/sharding.py": _JAX | {"absl"},
  "dabfusion_jax/training/optimizer.py": _JAX | {"optax"},
  "dabfusion_jax/training/state.py": _JAX
  | {"flax", "optax", "dabfusion_jax.parallel.sharding", "dabfusion_jax.stages.base"},
  "dabfusion_jax/training/loop.py": _JAX
  | {"absl", "dabfusion_jax.training.optimizer", "dabfusion_jax.training.state"}
  | {
    "dabfusion_jax.parallel.sharding",
    "dabfusion_jax.training.writers",
    "dabfusion_jax.storage.checkpointing",
  }
  | {
    "dabfusion_jax.parallel.hardware",
    "dabfusion_jax.training.watchdog",
    "dabfusion_jax.storage.run_config",
  }
  | {"dabfusion_jax.storage.run_folder"}
  | {
    "dabfusion_jax.stages.base",
    "dabfusion_jax.training.step",
    "dabfusion_jax.training.health",
  },
  "dabfusion_jax/training/step.py": _JAX
  | {"optax", "dabfusion_jax.training.optimizer", "dabfusion_jax.training.state"}
  | {"dabfusion_jax.parallel.sharding", "dabfusion_jax.stages.base"},
  "configs": {"ml_collections"},
}
# One importer each: these libraries are in motion, or bring tensorflow.
ONLY_IN = {
  "orbax": "dabfusion_jax/storage/checkpointing.py",
  "clu": "dabfusion_jax/training/writers.py",
  "tensorboardX": "dabfusion_jax/training/writers.py",
}
# The only places of `data_pipeline` that know the networks.
KNOWS_NETWORKS = {"dabfusion_jax/latents.py"}
# The only places of `dabfusion_jax` that know files of data: the user's API and CLIs.
# and the files that evaluation reads and hears.
KNOWS_DATA = {"pipeline", "inputs", "dance", "train", "sample", "evaluate", "export"}
KNOWS_DATA |= {"clips", "names", "hearing", "claims", "study"}
KNOWS_DATA |= {"run_folder"}  # which may lie where data lie


def _files(place):
  path = _ROOT / place
  return [path] if path.suffix == ".py" else sorted(path.rglob("*.py"))


def _imports(path):
  """Dotted names of all modules a file imports."""
  found = set()
  for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
    if isinstance(node, ast.Import):
      found |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      found |= {f"{node.module}.{alias.name}" for alias in node.names}
  return found


def _is_in(name, packages):
  return any(name == p or name.startswith(p + ".") for p in packages)


@pytest.mark.parametrize("place", MAY_IMPORT)
def test_imports_point_down(place):
  import sys

  own = place.removesuffix(".py").replace("/", ".")
  allowed = MAY_IMPORT[place] | {own} | set(sys.stdlib_module_names)
  assert _files(place)
  for path in _files(place):
    wrong = {name for name in _imports(path) if not _is_in(name, allowed)}
    assert not wrong, f"{path.relative_to(_ROOT)} may not import {sorted(wrong)}"


@pytest.mark.parametrize(("library", "home"), ONLY_IN.items())
def test_an_unstable_library_has_one_importer(library, home):
  places = _files("dabfusion_jax") + _files("data_pipeline")
  importers = {
    str(path.relative_to(_ROOT))
    for path in places
    if any(_is_in(name, {library}) for name in _imports(path))
  }
  assert importers == {home}


def test_only_the_latent_cache_joins_data_and_networks():
  for path in _files("data_pipeline"):
    if str(path.relative_to(_ROOT)) not in KNOWS_NETWORKS:
      names = {n for n in _imports(path) if _is_in(n, {"dabfusion_jax", "configs"})}
      assert not names, f"{path.relative_to(_ROOT)} may not import {sorted(names)}"
  for path in _files("dabfusion_jax"):
    if path.stem not in KNOWS_DATA:
      names = {n for n in _imports(path) if _is_in(n, {"data_pipeline"})}
      assert not names, f"{path.relative_to(_ROOT)} may not import {sorted(names)}"
