"""Ctrl-C before a program has begun to work."""

import subprocess
import sys

import pytest

STOPPED_WHILE_IMPORTING = """
import os, signal, sys
class Slow:
  def find_spec(self, name, path, target=None):
    if name == "{slow}":
      os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Slow())
sys.argv = ["-m"]
import {program}
"""


@pytest.mark.parametrize(
  "program, slow", [("dabfusion_jax.sample", "jax"), ("data_pipeline.build", "librosa")]
)
def test_ctrl_c_while_a_program_imports_is_one_line(program, slow):
  code = STOPPED_WHILE_IMPORTING.format(program=program, slow=slow)
  command = [sys.executable, "-c", code]
  stopped = subprocess.run(command, capture_output=True, text=True, timeout=60)
  assert (stopped.returncode, stopped.stderr) == (130, "interrupted\n")


SWALLOWED = """
import gc, os, signal, sys
sys.argv = ["{name}"]
from data_pipeline import cli, interrupts
def interrupt(phase, info):
  gc.callbacks.remove(interrupt)
  os.kill(os.getpid(), signal.{signal})
  for _ in range(1000): pass  # here it is raised, and dropped
with cli.one_line_errors("program"):
  interrupts.end_on_sigterm()
  gc.callbacks.append(interrupt)
  gc.collect()
  print("goes on")
  interrupts.check()
"""


@pytest.mark.parametrize("name", ["-m", "/somewhere/bin/dabfusion"])
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_an_interrupt_that_python_drops_ends_the_work_all_the_same(name, number):
  code = SWALLOWED.format(name=name, signal=number)
  command = [sys.executable, "-c", code]
  stopped = subprocess.run(command, capture_output=True, text=True, timeout=60)
  assert (stopped.returncode, stopped.stdout) == (130, "goes on\n")
  assert stopped.stderr.endswith("program: interrupted\n")


def test_sigterm_ends_a_program_that_a_script_runs_in_the_background():
  ignored = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
  code = ignored + SWALLOWED.format(name="-m", signal="SIGTERM")
  command = [sys.executable, "-c", code]
  stopped = subprocess.run(command, capture_output=True, text=True, timeout=60)
  assert (stopped.returncode, stopped.stdout) == (130, "goes on\n")
  assert stopped.stderr.endswith("program: interrupted\n")


def test_an_interrupted_program_does_not_wait_for_its_threads():
  code = """
import sys, threading, time
sys.argv = ["-m"]
from data_pipeline import cli
threading.Thread(target=time.sleep, args=[60]).start()
with cli.one_line_errors("program"):
  raise KeyboardInterrupt
"""
  command = [sys.executable, "-c", code]
  stopped = subprocess.run(command, capture_output=True, text=True, timeout=30)
  assert (stopped.returncode, stopped.stderr) == (130, "program: interrupted\n")


def test_importing_the_package_in_a_library_leaves_ctrl_c_alone():
  code = "import signal, dabfusion_jax, data_pipeline\n"
  code += "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler"
  subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
