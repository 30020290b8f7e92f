"""Training over several real processes, as on a pod."""

import pathlib
import socket
import subprocess
import sys

import jax
import numpy as np
from toy_stage import toy_train

SCRIPT = """
import sys
import jax
process, port, workdir = int(sys.argv[1]), sys.argv[2], sys.argv[3]
sys.path[:0] = sys.argv[4:]
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 2)
jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=2, process_id=process)
import toy_stage

class Share:
  '''This process's half of each batch.'''
  def __iter__(self):
    self.batches = iter(toy_stage.toy_dataset())
    self.get_state, self.set_state = self.batches.get_state, self.batches.set_state
    return self
  def __next__(self):
    return {k: v[4 * process :][:4] for k, v in next(self.batches).items()}

mesh = (("data", 2), ("fsdp", 2))
toy_stage.toy_train(workdir, dataset=Share(), num_steps=2, mesh=mesh)
jax.distributed.shutdown()
"""


def test_two_processes_train_as_one_and_one_goes_on_alone(tmp_path):
  """Two steps of two processes with two devices each, then two of one process."""
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
  tests = pathlib.Path(__file__).parent
  arguments = [str(port), str(tmp_path / "run"), str(tests), str(tests.parent)]
  children = [
    subprocess.Popen(
      [sys.executable, "-c", SCRIPT, str(process), *arguments],
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
    )
    for process in range(2)
  ]
  try:
    for child in children:
      output, _ = child.communicate(timeout=180)
      assert child.returncode == 0, output.decode()
  finally:
    for child in children:
      child.kill()
      child.communicate()
  lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
  assert len(lines) == 2  # the first process alone writes
  joined = toy_train(tmp_path / "run", mesh=(("data", 2), ("fsdp", 4)))
  straight = toy_train(tmp_path / "straight")
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6),
    joined,
    straight,
  )
