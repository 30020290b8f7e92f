"""Files appear whole; remote folders are copied from and to this machine."""

import pathlib

import pytest
from etils import epath
from stores import objects

from data_pipeline import files


@pytest.fixture
def store(monkeypatch, tmp_path):
  monkeypatch.setenv(files.VARIABLE, str(tmp_path / "cache"))
  with objects(monkeypatch) as objects_in_memory:
    yield objects_in_memory


def cached(tmp_path):
  """Returns the names of the files in the cache."""
  return sorted(p.name for p in (tmp_path / "cache").rglob("*") if p.is_file())


@pytest.mark.parametrize("where", ["local", "remote"])
def test_a_file_is_written_whole_or_stays_as_it_was(store, tmp_path, where):
  folder = epath.Path("gs://bucket/a") if where == "remote" else epath.Path(tmp_path)
  files.write_json(folder / "x.json", [1])
  with pytest.raises(KeyboardInterrupt):
    with files.whole_file(folder / "x.json") as path:
      path.write_text("half of it")
      raise KeyboardInterrupt
  assert (folder / "x.json").read_text() == "[\n  1\n]\n"
  assert [p.name for p in folder.iterdir() if p.name != "cache"] == ["x.json"]
  assert not path.exists()


def test_files_are_copied_once_per_key(store, tmp_path):
  (tmp_path / "set" / "shards").mkdir(parents=True)
  names = ["shards/one", "two"]
  for name in names:
    (tmp_path / "set" / name).write_text(f"content of {name}")
  files.send(tmp_path / "set", names, "gs://bucket/set")
  assert store.names() == ["bucket/set/shards/one", "bucket/set/two"]
  copy = files.fetch("gs://bucket/set", names[:1], "key")
  assert cached(tmp_path) == ["one"]  # no more than was asked for
  assert (copy / "shards/one").read_text() == "content of shards/one"
  epath.Path("gs://bucket/set/shards/one").write_text("replaced")
  assert (files.fetch("gs://bucket/set/", names, "key") / names[0]).read_text() == (
    "content of shards/one"
  )
  other = files.fetch("gs://bucket/set", names, "other key")
  assert (other / "shards/one").read_text() == "replaced"


def test_an_incomplete_copy_is_not_kept(store, tmp_path, monkeypatch):
  epath.Path("gs://bucket/a").write_text("all of it")
  monkeypatch.setattr(store, "info", lambda path: {"size": 5, "type": "file"})
  with pytest.raises(OSError, match="9 of 5 bytes"):
    files.fetch("gs://bucket", ["a"], "key")
  with pytest.raises(OSError):
    files.fetch("gs://bucket", ["absent"], "key")
  assert cached(tmp_path) == []


def test_local_folders_stay_where_they_are(tmp_path):
  assert files.fetch(tmp_path, ["not looked for"], "key") == tmp_path
  assert files.local_folder("data/x", "key") == pathlib.Path("data/x")
