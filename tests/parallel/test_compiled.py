"""Compiled programs are kept for the next process, and nothing depends on it."""

import logging
import stat

import jax
import jax.numpy as jnp
import pytest
from jax.experimental.compilation_cache import compilation_cache

from dabfusion_jax.parallel.compiled import (
  default_folder,
  keep_compiled,
  options_for_inference,
)

_NAMES = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")


@pytest.fixture
def cache(tmp_path, monkeypatch):
  """Begins without a chosen folder, as programs do, and restores that of the suite."""
  before = {name: getattr(jax.config, name) for name in _NAMES}
  monkeypatch.setenv("DABFUSION_CACHE", str(tmp_path / "cache"))
  jax.config.update("jax_compilation_cache_dir", None)
  compilation_cache.reset_cache()
  yield tmp_path / "cache"
  for name, value in before.items():
    jax.config.update(name, value)
  jax.config.update("jax_enable_compilation_cache", True)
  compilation_cache.reset_cache()


def _compute():
  """Compiles as a new process does, and returns 21."""
  jax.clear_caches()
  return int(jax.jit(lambda x: (x * jnp.arange(7)).sum())(1))


def _entries():
  return list(default_folder().glob("*-cache"))


def test_the_next_process_reads_what_this_one_compiled(cache):
  keep_compiled()
  assert _compute() == 21
  assert _entries()
  hits = []
  listen = lambda event, **unused: hits.append(event.endswith("/cache_hits"))
  jax.monitoring.register_event_listener(listen)
  try:
    assert _compute() == 21
  finally:
    jax.monitoring.unregister_event_listener(listen)
  assert any(hits)


def test_nobody_else_can_write_programs_that_this_user_runs(cache):
  default_folder().mkdir(parents=True, mode=0o777)
  keep_compiled()
  assert stat.S_IMODE(default_folder().stat().st_mode) == 0o700


def test_without_a_writable_folder_one_line_is_told_and_nothing_kept(cache, caplog):
  cache.write_text("a file")
  with caplog.at_level(logging.WARNING, "absl"):
    keep_compiled()
  (record,) = caplog.records
  line = record.getMessage()
  assert "DABFUSION_CACHE" in line and str(cache) in line and "\n" not in line
  assert jax.config.jax_compilation_cache_dir is None
  assert _compute() == 21


def test_a_damaged_entry_is_compiled_again(cache):
  keep_compiled()
  _compute()
  for entry in _entries():
    entry.write_bytes(entry.read_bytes()[:20])
  with pytest.warns(UserWarning, match="Error reading persistent compilation cache"):
    assert _compute() == 21


def test_what_the_user_has_chosen_stands(cache, tmp_path):
  jax.config.update("jax_compilation_cache_dir", str(tmp_path / "own"))
  keep_compiled()
  assert jax.config.jax_compilation_cache_dir == str(tmp_path / "own")
  jax.config.update("jax_compilation_cache_dir", None)
  jax.config.update("jax_enable_compilation_cache", False)
  keep_compiled()
  assert jax.config.jax_compilation_cache_dir is None


def test_this_jax_knows_the_options_for_inference_and_xla_flags_stand(monkeypatch):
  device = jax.local_devices()[0]
  monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=0")
  assert options_for_inference(device) is None
  monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_parallel_codegen_split_count=1")
  options = options_for_inference(device, samples=True)
  assert options.keys() >= options_for_inference(device).keys()
  assert options["xla_backend_optimization_level"] == 1
  add = jax.jit(lambda x: x + 20, compiler_options=options)
  assert add(1) == 21  # an unknown option would be an error
