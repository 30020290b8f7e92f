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


def test_importing_the_package_in_a_library_leaves_ctrl_c_alone():
  code = "import signal, dabfusion_jax, data_pipeline\n"
  code += "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler"
  subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
