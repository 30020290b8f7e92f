"""A run whose folder lies in a bucket goes on as one on a disk does."""

import json
import pathlib

import fsspec
import pytest
from etils import epath
from etils.epath import backend
from fsspec.implementations.local import LocalFileSystem
from orbax.checkpoint._src.path import gcs_utils
from orbax.checkpoint._src.serialization import tensorstore_utils
from toy_stage import assert_trees_equal, toy_train

from dabfusion_jax.settings.config_files import load_config
from dabfusion_jax.storage import checkpoint_files, saved_stage
from dabfusion_jax.storage.checkpointing import load_params
from dabfusion_jax.storage.run_folder import RunFolder
from dabfusion_jax.training.watchdog import Watchdog, find_stragglers

_CONFIGS = pathlib.Path(__file__).parents[2] / "configs"
RUN = "gs://bucket/runs/one"


class Bucket(LocalFileSystem):
  """Answers to `gs://` from a folder on disk."""

  cachable = False

  def __init__(self, root):
    super().__init__(auto_mkdir=True)
    self.root = root

  def _strip_protocol(self, path):
    return LocalFileSystem._strip_protocol(self.here(path))

  def _parent(self, path):
    return self._strip_protocol(path).rpartition("/")[0]

  def glob(self, path):
    return [p.removeprefix(f"{self.root}/") for p in super().glob(path)]

  def here(self, path):
    return str(path).replace("gs:/", str(self.root)).replace("//", "/")


@pytest.fixture
def bucket(monkeypatch, tmp_path):
  """For etils, and for orbax with its own way to the same files."""
  store = Bucket(tmp_path / "store")
  monkeypatch.setattr(
    backend.fsspec_backend,
    "_get_filesystem",
    lambda name: fsspec.filesystem("file") if name == "file" else store,
  )
  monkeypatch.setattr(tensorstore_utils, "_normalize_path", store.here)
  monkeypatch.setattr(gcs_utils, "is_hierarchical_namespace_enabled", lambda path: 0)
  return tmp_path / "store" / "bucket"


@pytest.mark.slow
def test_run_in_a_bucket_goes_on_from_its_last_complete_checkpoint(
  bucket, tmp_path, caplog
):
  straight = toy_train(tmp_path / "straight")
  toy_train(RUN, num_steps=3, checkpoint_every=1)
  folder = bucket / "runs" / "one"
  assert not any("tmp" in path.name for path in folder.rglob("*"))
  # As a save leaves it that was killed: everything but the last file.
  (folder / "checkpoints" / "3" / "commit_success.txt").unlink()
  (folder / "checkpoints" / "2" / "data" / "process_0-of-1.json").write_text("{")
  assert checkpoint_files.latest_step(RUN) == 2
  state = toy_train(RUN)
  assert "Cannot read checkpoint 2" in caplog.text
  assert_trees_equal(state, straight)
  lines = (folder / "metrics.jsonl").read_text().splitlines()
  assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4]
  assert not (folder / "checkpoints" / "3").exists()
  assert (folder / "unreadable_checkpoints" / "2").is_dir()
  assert {p.name for p in (folder / "pictures").iterdir()} == {
    f"shade_000000{step}.png" for step in (2, 3, 4)
  }
  assert list((folder / "events").iterdir()) and load_params(RUN)[2] == 4
  with pytest.raises(ValueError, match=f"{RUN} was trained with .* seed was 0, now 1"):
    toy_train(RUN, seed=1)


def test_trained_stage_is_read_from_a_bucket(bucket, tmp_path):
  params = {"out": {"kernel": [[1.0, 2.0]]}}
  digest = saved_stage.digest_of(params, {})
  settings = load_config(_CONFIGS / "autoencoder.py", "smoke")
  saved = saved_stage.SavedStage(settings, params, {}, 5, digest)
  saved_stage.save_stage(saved, bucket / "two" / "autoencoder")
  found = saved_stage.load_autoencoder_of("gs://bucket/two")
  assert (found.digest, found.step) == (digest, 5)


def test_only_changed_files_are_sent(bucket):
  run = RunFolder(RUN)
  (run.local / "pictures").mkdir()
  (run.local / "pictures" / "a.png").write_text("a")
  run.send()
  there = epath.Path(RUN) / "pictures" / "a.png"
  assert there.read_text() == "a"
  there.write_text("newer there")
  (run.local / "config.json").write_text("{}")
  run.send()
  assert there.read_text() == "newer there"
  assert (RunFolder(RUN).local / "config.json").read_text() == "{}"


def test_on_a_disk_files_lie_where_the_run_lies(tmp_path):
  run = RunFolder(tmp_path / "run")
  assert run.local == run.path == tmp_path / "run"
  run.send()
  assert not run.path.exists()


def test_heartbeats_meet_in_the_bucket(bucket):
  with Watchdog(RUN, stall_seconds=100.0):
    line = find_stragglers(epath.Path(RUN) / "heartbeats", 2)
  assert "No heartbeat from process 1" in line and "is that of process 0" in line
