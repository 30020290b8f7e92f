"""An empty cache of compiled code survives several processes at once."""

import fcntl
import os
import subprocess
import sys
import tempfile

from data_pipeline import numba_cache


def test_processes_that_start_together_leave_a_working_cache(tmp_path):
  code = (
    "import numpy as np; from data_pipeline.music import trackers;"
    "click = np.zeros(88200, np.float32); click[::11025] = 1;"
    "print(len(trackers.make_tracker('librosa')(click, 22050).times))"
  )
  environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}

  def start():
    return subprocess.Popen(
      [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True
    )

  together = [start(), start()]
  counts = [process.communicate()[0] for process in together]
  afterwards = start()
  counts.append(afterwards.communicate()[0])
  assert [p.returncode for p in [*together, afterwards]] == [0, 0, 0]
  assert len(set(counts)) == 1 and int(counts[0]) >= 7
  assert list(tmp_path.rglob("*.nbc"))
  # librosa itself would compile this one again in every process.
  assert list(tmp_path.rglob("*beat_local_score*.nbc"))


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
