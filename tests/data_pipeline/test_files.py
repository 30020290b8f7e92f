"""Files appear whole; remote folders are copied from and to this machine."""

import concurrent.futures
import math
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy
from array_record.python import array_record_module
from etils import epath
from stores import objects

from data_pipeline import cli, files, locks
from data_pipeline.media import writer
from data_pipeline.synthdance import generate


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


def test_parts_of_a_file_that_nobody_writes_any_more_are_removed(tmp_path):
  path, other = tmp_path / f"{'x' * 150}.mp4", tmp_path / ".abcd_123.y.mp4"
  with files.whole_file(path) as part:
    (tmp_path / (part.name[:1] + "1" * 8 + part.name[9:])).touch()
    other.touch()
    files.remove_parts(path)
    assert {*tmp_path.iterdir()} == {other, part}


def test_files_have_the_rights_that_the_user_gives_new_files(tmp_path):
  code = "from data_pipeline import files; files.write_text('file', 'text')"
  for umask in (0o077, 0o022):
    subprocess.run(
      [sys.executable, "-c", code],
      cwd=tmp_path,
      env=os.environ | {"PYTHONPATH": str(pathlib.Path.cwd())},
      umask=umask,
      check=True,
    )
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o666 & ~umask
    (tmp_path / "file").unlink()


def test_a_folder_may_be_made_private_by_many_at_once(tmp_path):
  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    list(pool.map(lambda _: files.make_private(tmp_path / "own"), range(500)))
  assert (tmp_path / "own").stat().st_mode & 0o777 == 0o700
  assert not list((tmp_path / "own").iterdir())


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


def write_array(path, array):
  with files.whole_file(path) as file, open(file, "wb") as opened:
    np.save(opened, array)


def write_tensors(path, array):
  with files.whole_file(path) as file:
    safetensors.numpy.save_file({"a": array}, file)


def write_archive(path, array):
  with files.whole_file(path) as file:
    array_writer = array_record_module.ArrayRecordWriter(str(file), "group_size:1")
    array_writer.write(array.tobytes())
    array_writer.close()


def write_picture(path, array):
  side = math.isqrt(array.nbytes // 3)
  pixels = array.view(np.uint8)[: 3 * side * side]
  writer.write_image(path, pixels.reshape(side, side, 3))


def write_video(path, array):
  frames = array.view(np.uint8)[: 32 * 3 * 64 * 64].reshape(32, 64, 64, 3)
  writer.write_video(path, frames, 10, array[:35_280].astype(np.float32) / 9, 11_025, 0)


def write_sound(path, array):
  generate.write_wav(path, array.reshape(-1, 2).astype(np.float32) / 9)


def write_truth(path, array):
  with files.whole_file(path) as file:
    np.savez_compressed(file, a=array, b=array)


@pytest.mark.parametrize(
  "write, name",
  [
    (write_array, "a.npy"),
    (write_tensors, "a.safetensors"),
    (write_archive, "a.array_record"),
    (write_picture, "a.png"),
    (write_picture, "a.jpg"),
    (write_video, "a.mp4"),
    (write_video, "a.gif"),
    (write_sound, "a.wav"),
    (write_truth, "a.npz"),
  ],
)
def test_on_a_full_disk_the_file_is_named_and_no_part_of_it_stays(
  small_disk, write, name
):
  array = np.random.default_rng(0).standard_normal(100_000)
  with pytest.raises(SystemExit) as stopped, cli.one_line_errors("program"):
    write(small_disk / name, array)
  text = f"program: {small_disk / name}: No space left on device; free space and run"
  assert str(stopped.value).startswith(text)
  assert not list(small_disk.iterdir())


@pytest.mark.parametrize(
  "write, name",
  [
    (write_array, "a.npy"),
    (write_tensors, "a.safetensors"),
    (write_picture, "a.jpg"),
    (write_picture, "a.webp"),
    (write_sound, "a.wav"),
    (write_truth, "a.npz"),
  ],
)
def test_however_little_space_is_left_a_file_is_whole_or_not_there(
  small_disk, tmp_path, write, name
):
  array = np.random.default_rng(0).integers(-90, 90, 4000) / 10
  write(tmp_path / name, array)
  whole, written = (tmp_path / name).read_bytes(), []
  for free in range(17):  # pages of 4 KiB
    (small_disk / "rest").write_bytes(bytes(4096 * (16 - free)))
    try:
      write(small_disk / name, array)
    except OSError as error:
      assert error.filename == str(small_disk / name)
    else:
      assert (small_disk / name).read_bytes() == whole
      (small_disk / name).unlink()
      written.append(free)
    assert [p.name for p in small_disk.iterdir()] == ["rest"]
  assert 0 < len(written) < 17


def test_an_output_on_a_full_disk_wants_space_and_no_other_place(small_disk):
  (small_disk / "rest").write_bytes(bytes(64 * 1024))
  for check in (
    lambda: files.check_writable(small_disk, is_folder=True),
    lambda: locks.hold_folder(small_disk).__enter__(),
  ):
    with pytest.raises(SystemExit) as stopped, cli.one_line_errors("program"):
      check()
    text = f"program: {small_disk}: No space left on device; free space and run"
    assert str(stopped.value).startswith(text)


def test_a_full_disk_below_a_library_names_what_was_asked_for(tmp_path):
  with pytest.raises(OSError, match="No space left") as error:
    with files.full_disk_names(tmp_path / "set"):
      raise RuntimeError("write() failed: No space left on device; writing x-00000")
  assert error.value.filename == str(tmp_path / "set")
  with pytest.raises(RuntimeError), files.full_disk_names(tmp_path):
    raise RuntimeError("a bug")


def test_the_oldest_files_go_first(tmp_path):
  for age, name in enumerate(("new", "old", "oldest")):
    (tmp_path / name).write_bytes(bytes(10))
    os.utime(tmp_path / name, (1000 - age, 1000 - age))
  files.remove_oldest(tmp_path, 25)
  assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "old"]
