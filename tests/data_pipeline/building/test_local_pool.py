"""Worker processes end with the work, however it ends."""

import os
import subprocess
import sys
import time


def work(number):
  time.sleep(0.1)
  if number == 1:
    os._exit(3)
  return number


PROGRAM = """
from test_local_pool import work
from data_pipeline.building.local_pool import LocalPool

if __name__ == "__main__":
  try:
    with LocalPool(2) as pool:
      calls = [(number,) for number in range(30)]
      for result in pool.run(work, calls, "calls", lambda number: -number):
        print(result, flush=True)
        if result == 5:
          raise KeyboardInterrupt
  except KeyboardInterrupt:
    print("stopped")
"""


def test_ctrl_c_works_after_a_process_has_crashed(tmp_path):
  (tmp_path / "program.py").write_text(PROGRAM)
  paths = sys.path
  done = subprocess.run(
    [sys.executable, str(tmp_path / "program.py")],
    env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in paths if p)},
    capture_output=True,
    text=True,
    timeout=120,
  )
  printed = done.stdout.split()
  assert done.returncode == 0 and printed[-1] == "stopped"
  assert {"-1", "0", "2", "3", "4", "5"} <= set(printed)
