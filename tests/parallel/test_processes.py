"""Training, export and evaluation over several real processes, as on a pod."""

import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from toy_stage import toy_train

from dabfusion_jax import evaluate
from dabfusion_jax.evaluation.reading import clips

# As on a pod, where `initialize` finds out all of this by itself.
JOIN = """
import faulthandler, functools, sys, time
import jax
faulthandler.dump_traceback_later(120, repeat=True)  # says where it hangs
jax.config.update("jax_platforms", "cpu")
process, port = int(sys.argv[1]), sys.argv[2]
jax.distributed.initialize = functools.partial(
  jax.distributed.initialize, f"127.0.0.1:{port}", 2, process
)
"""

TRAIN = """
workdir, num_steps = sys.argv[3:]
jax.config.update("jax_num_cpu_devices", 2)
jax.distributed.initialize()
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


EXPORT = """
import dataclasses
import types
import numpy as np
from dabfusion_jax import export

@dataclasses.dataclass
class Pipeline:
  devices: tuple = ()
  settings = types.SimpleNamespace(data=types.SimpleNamespace(beats="librosa"))
  from_pretrained = classmethod(lambda cls, checkpoint: cls())

  def sample_records(self, records, *unused):
    for i in range(len(records)):
      time.sleep(2 * process)  # one is done long before the other
      yield records[i], np.full((2, 16, 16, 3), i, np.uint8)

clip = {"window": 0, "fps": 10.0, "sample_rate": 8000}
clip["audio"] = np.zeros(1600, np.int16)
clips = [clip | {"name": f"clip{i}"} for i in range(5)]
export.DancePipeline = Pipeline
export.open_source = lambda *unused: clips
export.make_manifest = lambda *unused: {"seed": 0}
export.main(["--distributed", "--checkpoint=c", "--data=d", f"--output={sys.argv[3]}"])
"""


def run_two(script, *arguments, status=0):
  """Runs two processes that know of each other, and returns what each has printed."""
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
  tests = pathlib.Path(__file__).parents[1]
  environment = {**os.environ, "PYTHONPATH": f"{tests}{os.pathsep}{tests.parent}"}
  arguments = [str(x) for x in (port, *arguments)]
  children = [
    subprocess.Popen(
      [sys.executable, "-c", JOIN + script, str(process), *arguments],
      env=environment,
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
  assert [child.returncode for child in children] == [status] * 2, "\n".join(printed)
  return printed


def test_two_processes_train_as_one_and_one_goes_on_alone(tmp_path):
  """Two steps of two; a third, after damage; the fourth of one process."""
  workdir = tmp_path / "run"
  run_two(TRAIN, workdir, 2)
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  assert len(lines) == 2  # the first process alone writes

  # What one process cannot read none takes: or they would train on different states.
  (workdir / "checkpoints" / "2" / "data" / "process_1-of-2.json").write_text("{")
  printed = run_two(TRAIN, workdir, 3)
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


@pytest.mark.slow
def test_two_processes_share_an_export_whose_parts_differ(tmp_path):
  printed = run_two(EXPORT, tmp_path)
  assert "3 clips written, share 0 of 2" in printed[0]
  assert "2 clips written, share 1 of 2" in printed[1]
  for kind in ("samples", "references"):
    names = sorted(path.stem for path in (tmp_path / kind).glob("*.npz"))
    assert names == [f"clip{i}-w0" for i in range(5)]


EVALUATE = """
from dabfusion_jax import evaluate
from dabfusion_jax.evaluation.reporting import evaluator

def read_features(*arguments, read=evaluator.read_features):
  time.sleep(2 * process)  # one is done before the other
  read(*arguments)

evaluator.read_features = read_features
samples, references, output = sys.argv[3:]
evaluate.main([
  "--distributed", f"--samples={samples}", f"--references={references}",
  f"--output={output}", "--metrics=motion,paired",
])
"""


@pytest.mark.slow
def test_two_processes_evaluate_as_one_of_which_the_first_writes(tmp_path):
  for i in range(5):
    rng = np.random.default_rng(i)
    for folder in ("samples", "references"):
      (tmp_path / folder).mkdir(exist_ok=True)
      frames = rng.integers(0, 255, (12, 32, 32, 3), np.uint8)
      clips.write_arrays(
        tmp_path / folder / f"clip{i}.npz", {"frames": frames, "fps": 10}
      )
  folders = tmp_path / "samples", tmp_path / "references"
  printed = run_two(EVALUATE, *folders, tmp_path / "two")
  assert "features of 3 clips, share 0 of 2" in printed[0]
  assert "features of 2 clips, share 1 of 2" in printed[1]
  assert "PSNR" in printed[0] and "PSNR" not in printed[1]
  arguments = [f"--{folder.name}={folder}" for folder in folders]
  evaluate.main([*arguments, f"--output={tmp_path / 'one'}", "--metrics=motion,paired"])
  one, two = (
    json.loads((tmp_path / name / "result.json").read_text()) for name in ("one", "two")
  )
  assert one["summary"] == two["summary"] and one["protocol"] == two["protocol"]


FAIL = """
import argparse
from dabfusion_jax.parallel import share
from data_pipeline import cli

parser = argparse.ArgumentParser()
share.add_arguments(parser)
with share.ended_at_once(), cli.one_line_errors("test"):
  own = share.from_arguments(parser.parse_args(["--distributed"]))
  if process:
    raise cli.UserError("a damaged clip.")
  own.wait("features")
"""


def test_a_process_that_fails_ends_the_other_as_well():
  waiting, failing = run_two(FAIL, status=1)
  assert failing.strip().splitlines()[-1] == "test: a damaged clip."
  assert "test: Another of the 2 processes has ended" in waiting
  assert "Traceback" not in waiting + failing


FAIL_IN_TRAINING = """
from dabfusion_jax import train
from dabfusion_jax.settings.config_flag import parse_flags
from dabfusion_jax.storage import agreement

def work(*unused):
  if process:
    raise train.UserError("a damaged clip.")
  agreement.wait_for_all("checkpoints")

train.train_autoencoder = work
config = "--config=configs/autoencoder.py:smoke"
workdir = f"--workdir={sys.argv[3 + process]}"
parse_flags("train", ["train", config, "--distributed", workdir])
train.main(["train"])
"""


def test_a_training_that_fails_ends_the_others_as_well(tmp_path):
  started = time.monotonic()
  _, failing = run_two(FAIL_IN_TRAINING, tmp_path, tmp_path, status=1)
  assert failing.strip().splitlines()[-1] == "train: a damaged clip."
  assert time.monotonic() - started < 100  # and not when the others lose patience


@pytest.mark.slow
def test_a_workdir_that_processes_do_not_share_is_refused(tmp_path):
  workdirs = tmp_path / "one", tmp_path / "two"
  printed = run_two(FAIL_IN_TRAINING, *workdirs, status=1)
  said = f"not reach process 1 on {socket.gethostname()}. Name a"
  for text in printed:
    assert said in text and "clip" not in text and "Traceback" not in text
  assert not list(workdirs[0].glob(".seen*"))


STOP = """
import os, signal
from dabfusion_jax.parallel import share
from dabfusion_jax.training.loop import signal_watch

with share.ended_at_once(143):
  share.join()
  with signal_watch() as stop_status:
    if process:
      os.kill(os.getpid(), signal.SIGINT)
    for step in range(600):
      time.sleep(0.1)
      if status := stop_status(step):
        print("stops after", step, flush=True)
        time.sleep(3 * process)
        sys.exit(status)
"""


def test_ctrl_c_stops_all_after_the_same_step_and_they_wait_for_each_other():
  printed = run_two(STOP, status=143)
  one, two = (re.findall(r"^stops after \d+", text, re.M) for text in printed)
  assert one == two != []
