"""An empty cache of compiled code survives several processes at once."""

import fcntl
import json
import os
import pathlib
import subprocess
import sys
import tempfile

from data_pipeline import numba_cache
from data_pipeline.music.numba_cache import compile_librosa

# As `kernels` of SynthDance: functions that call each other, compiled behind the lock.
KERNELS = """
import json, sys, time
import numba
from data_pipeline.numba_cache import fill_once

@numba.njit(cache=True)
def square(x):
  return x * x

@numba.njit(cache=True)
def norm(x, y):
  return (square(x) + square(y)) ** 0.5

filled = []

def compile_all():
  filled.append(norm(3.0, 4.0))
  time.sleep(1)  # the other process has begun

if __name__ == "__main__":
  fill_once("kernels", [__file__], compile_all)
  result = norm(6.0, 8.0)
  json.dump([len(filled), result, sum(norm.stats.cache_misses.values())], sys.stdout)
"""


def test_processes_that_start_together_leave_a_working_cache(tmp_path):
  cache, kernels = tmp_path / "cache", tmp_path / "kernels.py"
  kernels.write_text(KERNELS)
  root = pathlib.Path(__file__).parents[2]
  changes = {"NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": str(root)}

  def start():
    return subprocess.Popen(
      [sys.executable, kernels],
      env={**os.environ, **changes, "TMPDIR": str(tmp_path)},
      stdout=subprocess.PIPE,
      text=True,
    )

  together = [start(), start()]
  printed = [process.communicate()[0] for process in together]
  afterwards = start()
  printed.append(afterwards.communicate()[0])
  assert [p.returncode for p in [*together, afterwards]] == [0, 0, 0]
  # One process fills the cache; the others take everything from it.
  results = [json.loads(text) for text in printed]
  assert sorted(results[:2]) == [[0, 10.0, 0], [1, 10.0, 1]]
  assert results[2] == [0, 10.0, 0]
  assert list(cache.rglob("*norm*.nbc"))


def test_the_function_that_librosa_would_compile_in_every_process_is_cached():
  compile_librosa()
  from librosa import beat

  (function,) = [x for name, x in vars(beat).items() if name.endswith("_local_score")]
  cache = pathlib.Path(function.gufunc_builder.nb_func.cache.cache_path)
  assert list(cache.glob("*beat_local_score*.nbc"))


def test_no_process_waits_for_a_filled_cache(tmp_path, monkeypatch):
  monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
  calls = []

  def fill():
    numba_cache.fill_once("nothing", [__file__], lambda: calls.append(1))

  fill()
  (lock,) = tmp_path.glob("*.lock")
  with open(lock) as held:
    fcntl.flock(held, fcntl.LOCK_EX)
    fill()
  monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
  fill()  # another cache
  assert len(calls) == 2


def test_a_cache_is_chosen_where_neither_home_nor_package_can_be_written(monkeypatch):
  monkeypatch.setenv("HOME", "/nowhere")
  monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
  monkeypatch.setattr(os, "access", lambda path, mode: False)
  numba_cache.choose_cache()
  assert os.environ["NUMBA_CACHE_DIR"].startswith(tempfile.gettempdir())
  monkeypatch.delenv("NUMBA_CACHE_DIR")
  monkeypatch.setattr(os, "access", lambda path, mode: True)
  numba_cache.choose_cache()
  assert "NUMBA_CACHE_DIR" not in os.environ
