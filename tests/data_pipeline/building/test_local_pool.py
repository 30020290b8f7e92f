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


STARTING = """
import os, signal, threading, time
from data_pipeline.building.local_pool import LocalPool
from data_pipeline.cli import one_line_errors

if __name__ == "__main__":
  with one_line_errors("program"), LocalPool(2) as pool:
    threading.Timer(0.5, os.killpg, (0, signal.SIGINT)).start()
    list(pool.run(time.sleep, [(60,)] * 9, "calls", print))
time.sleep(1)  # as imports of a worker take
"""


def run(program, folder):
  (folder / "program.py").write_text(program)
  return subprocess.run(
    [sys.executable, str(folder / "program.py")],
    env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    capture_output=True,
    text=True,
    timeout=120,
    start_new_session=True,
  )


def test_ctrl_c_while_processes_start_is_one_line(tmp_path):
  lines = run(STARTING, tmp_path).stderr.splitlines()
  lines = [line for line in lines if line and not line.startswith("calls")]
  assert lines == ["program: interrupted"]


def test_ctrl_c_works_after_a_process_has_crashed(tmp_path):
  done = run(PROGRAM, tmp_path)
  printed = done.stdout.split()
  assert done.returncode == 0 and printed[-1] == "stopped"
  assert {"-1", "0", "2", "3", "4", "5"} <= set(printed)
