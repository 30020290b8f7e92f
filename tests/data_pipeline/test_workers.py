"""Worker processes end with their parent, and by its word alone."""

import os
import signal
import subprocess
import time
from concurrent.futures.process import BrokenProcessPool

import pytest

from data_pipeline.workers import start_workers


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="there is no sender")
def test_a_worker_heeds_the_sigterm_of_its_parent_and_of_nobody_else():
  with start_workers(1) as executor:
    number = executor.submit(os.getpid).result(60)
    subprocess.run(["kill", "-TERM", str(number)], check=True)
    assert executor.submit(os.getpid).result(60) == number
    os.kill(number, signal.SIGTERM)
    with pytest.raises(BrokenProcessPool):
      executor.submit(time.sleep, 30).result(60)
