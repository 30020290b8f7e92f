"""Simulated devices, strict numerics and quick, shared compilation for every test."""

import gc
import os
import shutil
import signal
import subprocess
import tempfile

import jax
import jaxtyping
import pytest
from absl import flags

from data_pipeline.music.numba_cache import compile_librosa

# Compiling takes most of the time of the suite; with these it takes a third. Programs
# that tests start inherit them. If XLA_FLAGS is set, even to nothing, it stands.
QUICK = "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
if jax.__version_info__ < (0, 11):  # later ones know no other emitters
  QUICK += " --xla_cpu_use_fusion_emitters=false"
os.environ.setdefault("XLA_FLAGS", QUICK)
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
# Grain reads absl flags in its workers; under pytest nobody has parsed them.
flags.FLAGS.mark_as_parsed()
# Shells start jobs in the background with Ctrl-C ignored, and programs inherit it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
  signal.signal(signal.SIGINT, signal.default_int_handler)
compile_librosa()  # before two test processes do it at once
# Tracing makes millions of objects. To look through all of them as often as by default
# takes a quarter of its time.
gc.set_threshold(200_000, 50, 1000)


@pytest.fixture
def unchecked_types(monkeypatch):
  """Lets values of wrong types through, as for a user, who has no type checker."""
  monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture
def small_disk(tmp_path):
  """Mounts a disk of 64 KiB, which is full soon."""
  folder = tmp_path / "disk"
  folder.mkdir()
  mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
  if os.getuid() or subprocess.run(mount, capture_output=True).returncode:
    pytest.skip("only who may mount a disk can fill it")
  yield folder
  subprocess.run(["umount", "--lazy", str(folder)], check=True)


# The files that take longest: begun last, one would run alone.
LONGEST_FIRST = (
  "tests/test_programs.py",
  "tests/parallel/test_devices.py",
  "tests/data_pipeline/building/test_build.py",
  "tests/stages/test_diffusion.py",
  "tests/data_pipeline/test_numba_cache.py",
  "tests/inference/test_latent_cache.py",
  "tests/models/test_flow_autoencoder.py",
  "tests/stages/test_autoencoder.py",
)


def pytest_collection_modifyitems(items):
  """Puts the files that take longest first, for `--dist loadfile`."""
  place = {file: i for i, file in enumerate(LONGEST_FIRST)}
  items.sort(key=lambda item: place.get(item.nodeid.split("::")[0], len(place)))


def pytest_configure(config):
  """Lets all processes of this run, programs included, share what they compile."""
  if not hasattr(config, "workerinput"):  # else the parent has done it
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="dabfusion_jax_")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
    # What programs keep for their user is not to be found by another run.
    kept = os.path.join(os.environ["JAX_COMPILATION_CACHE_DIR"], "kept")
    os.environ["DABFUSION_CACHE"] = kept
  jax.config.update(
    "jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"]
  )
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def pytest_unconfigure(config):
  if not hasattr(config, "workerinput"):
    shutil.rmtree(os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
