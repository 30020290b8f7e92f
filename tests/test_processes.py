"""Training over several real processes, as on a pod."""

import os
import pathlib
import socket
import subprocess
import sys

import jax
import numpy as np
from toy_stage import toy_train

SCRIPT = """
import faulthandler
import sys
import jax
faulthandler.dump_traceback_later(120, repeat=True)  # says where it hangs
process, port, workdir, num_steps = int(sys.argv[1]), *sys.argv[2:5]
sys.path[:0] = sys.argv[5:]
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

toy_stage.toy_train(
  workdir,
  dataset=Share(),
  num_steps=int(num_steps),
  checkpoint_every=1,
  mesh=(("data", 2), ("fsdp", 2)),
)
jax.distributed.shutdown()
"""


def run_two(workdir, num_steps):
  """Trains with two processes of two devices each; what each has printed."""
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
  tests = pathlib.Path(__file__).parent
  arguments = [str(x) for x in (port, workdir, num_steps, tests, tests.parent)]
  children = [
    subprocess.Popen(
      [sys.executable, "-c", SCRIPT, str(process), *arguments],
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )
    for process in range(2)
  ]
  try:
    printed = [child.communicate(timeout=600)[0] for child in children]
  finally:
    for child in children:
      child.kill()
      child.communicate()
  assert [child.returncode for child in children] == [0, 0], "\n".join(printed)
  return printed


def test_two_processes_train_as_one_and_one_goes_on_alone(tmp_path):
  """Two steps of two; a third, after damage; the fourth of one process."""
  workdir = tmp_path / "run"
  run_two(workdir, 2)
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  assert len(lines) == 2  # the first process alone writes

  # What one process cannot read none takes: or they would train on different states.
  (workdir / "checkpoints" / "2" / "data" / "process_1-of-2.json").write_text("{")
  printed = run_two(workdir, 3)
  assert "Cannot read checkpoint 2 (process 1 cannot read it)" in printed[0]
  assert "Cannot read checkpoint 2" in printed[1]
  assert os.listdir(workdir / "unreadable_checkpoints") == ["2"]
  assert sorted(os.listdir(workdir / "checkpoints")) == ["1", "2", "3"]  # 2 anew

  joined = toy_train(workdir, mesh=(("data", 2), ("fsdp", 4)))
  straight = toy_train(tmp_path / "straight")
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6),
    joined,
    straight,
  )
