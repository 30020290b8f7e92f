"""Worker processes end with their parent, and not before."""

import os
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool

import pytest

from data_pipeline.workers import start_workers

JOB = """
import os, signal
from data_pipeline.workers import start_workers
if __name__ == "__main__":
  signal.signal(signal.SIGTERM, lambda *unused: None)
  with start_workers(1) as workers:
    before = workers.submit(os.getpid).result()
    os.killpg(0, signal.SIGTERM)
    assert workers.submit(os.getpid).result() == before
"""


def test_a_sigterm_to_the_whole_job_is_left_to_the_parent(tmp_path):
  (tmp_path / "job.py").write_text(JOB)
  environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
  command = [sys.executable, tmp_path / "job.py"]
  options = {"env": environment, "timeout": 60, "start_new_session": True}
  done = subprocess.run(command, capture_output=True, text=True, **options)
  assert done.returncode == 0, done.stderr


def test_a_worker_that_is_stopped_on_purpose_ends():
  with start_workers(1) as workers:
    process = workers._processes[workers.submit(os.getpid).result()]
    call = workers.submit(time.sleep, 20)
    process.terminate()
    with pytest.raises(BrokenProcessPool):
      call.result(timeout=10)
