"""Batches are complete, disjoint, repeatable, and from the expected data set."""

import json
import os
import shutil
import signal
import sys

import numpy as np
import pytest
from clip_examples import assert_same, make_record
from stores import objects

from data_pipeline import files
from data_pipeline.building.tfds_builder import write_shards
from data_pipeline.errors import UserError
from data_pipeline.records import clip_record, loader, pairs
from data_pipeline.records.clip_record import RecordError

NUM_FRAMES, SIZE, FPS, CLIPS = 6, 16, 10, 10


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  """Writes a data set of made-up records with the real builder."""
  folder = tmp_path_factory.mktemp("data")
  records = [
    clip_record.encode(make_record(seed, True, NUM_FRAMES, SIZE))
    for seed in range(CLIPS)
  ]
  splits = {"train": list(enumerate(records)), "test": list(enumerate(records[:2]))}
  write_shards(folder / "shards", records[0], splits)
  settings = {
    "schema_version": clip_record.SCHEMA_VERSION,
    "num_frames": NUM_FRAMES,
    "fps": FPS,
  }
  settings |= {"frame_size": SIZE, "framing": "letterbox"}
  settings |= {"encoder": {"name": "spectral", "version": 1, "size": 8}}
  counts = {split: {"clips": len(clips)} for split, clips in splits.items()}
  manifest = {"settings": settings, "beats": ["librosa", "truth"], "counts": counts}
  (folder / "manifest.json").write_text(json.dumps(manifest))
  return folder


@pytest.fixture(scope="module")
def clips(data_dir):
  return loader.open_clips(data_dir, "train", fields=("frames", "example_id", "name"))


def names(batch):
  """Returns the names of the clips of a batch."""
  return list(batch["name"])


def test_records_come_back_bit_for_bit(data_dir):
  source = loader.open_clips(data_dir, "train")
  assert len(source) == CLIPS
  seen = set()
  for index in range(CLIPS):
    record = source[index]
    assert record.pop("example_id") == index
    assert record.pop("beats").shape == (NUM_FRAMES,)
    assert record.pop("beat_features").shape == (NUM_FRAMES, 5)
    seed = int(record["name"].removeprefix("clip"))
    assert_same(record, make_record(seed, True, NUM_FRAMES, SIZE))
    seen.add(seed)
  assert seen == set(range(CLIPS))
  with pytest.raises(IndexError):
    source[CLIPS]


def test_beats_are_tracked_or_true_as_asked_for(data_dir):
  fields = ("beats", "beat_times", "true_beat_times")
  tracked = loader.open_clips(data_dir, "train", fields=fields)
  true = loader.open_clips(data_dir, "train", fields=fields, beats="truth")
  for a, b in zip(tracked, true, strict=True):
    assert a.keys() == set(fields)
    np.testing.assert_array_equal(
      a["beats"], loader.beat_vector(a["beat_times"], 0, NUM_FRAMES, FPS)
    )
    np.testing.assert_array_equal(
      b["beats"], loader.beat_vector(b["true_beat_times"], 0, NUM_FRAMES, FPS)
    )


def test_records_in_memory_equal_those_of_the_shards(data_dir):
  kept = loader.open_clips(data_dir, "train", cache_in_memory=True)
  first = kept[3]
  assert kept[3] is first
  assert_same(first, loader.open_clips(data_dir, "train")[3])


class Numbers:
  """A source of the first natural numbers."""

  def __init__(self, size):
    self._size = size

  def __len__(self):
    return self._size

  def __getitem__(self, index):
    return {"number": np.int64(index)}


def add_noise(record, rng):
  """Adds a random number to a record."""
  return record | {"noise": rng.random()}


class Logging(Numbers):
  """A source that records the indices that were read."""

  def __init__(self, size):
    super().__init__(size)
    self.read = []

  def __getitem__(self, index):
    self.read.append(index)
    return super().__getitem__(index)


@pytest.mark.parametrize(
  "size, processes", [(10, 2), (10, 3), (17, 5), (8, 8), (3, 7), (64, 4)]
)
@pytest.mark.parametrize("seed", [0, 1])
def test_processes_read_the_parts_of_the_batch_that_a_single_one_would_read(
  size, processes, seed
):
  """Holds for random draws too, and beyond the end of an incomplete epoch."""
  batch_size = 2 * processes
  single = iter(loader.batches(Numbers(size), batch_size, seed, add_noise))
  shares = [
    iter(loader.batches(Numbers(size), batch_size, seed, add_noise, process, processes))
    for process in range(processes)
  ]
  numbers = []
  for _ in range(2 * size // batch_size + 3):
    whole, pieces = next(single), [next(share) for share in shares]
    for key in ("number", "noise"):
      joined = np.concatenate([piece[key] for piece in pieces])
      np.testing.assert_array_equal(joined, whole[key])
    numbers += whole["number"].tolist()
  assert sorted(numbers[:size]) == sorted(numbers[size : 2 * size]) == list(range(size))
  states = [single.get_state(), *(share.get_state() for share in shares)]
  assert all(state == states[0] for state in states)  # so each can resume from another


def test_a_process_reads_only_its_own_examples():
  sources = [Logging(1000), Logging(1000)]
  for process, source in enumerate(sources):
    batches = iter(loader.batches(source, 8, 0, None, process, 2))
    for _ in range(20):
      next(batches)
  assert not set(sources[0].read) & set(sources[1].read)


def test_no_more_is_read_than_the_batches_that_are_asked_for():
  source = Logging(1000)
  batches = iter(loader.batches(source, 4, 0, num_threads=8, num_batches=2))
  assert [len(next(batches)["number"]) for _ in range(2)] == [4, 4]
  with pytest.raises(StopIteration):
    next(batches)
  assert len(source.read) == 8


@pytest.mark.parametrize(("cores", "threads"), [(3, 3), (64, 16)])
def test_a_thread_per_core_reads_within_bounds(monkeypatch, cores, threads):
  monkeypatch.setattr(loader, "count_cores", lambda: cores)
  given, real = [], loader.grain.ReadOptions
  options = lambda **kwargs: given.append(kwargs) or real(**kwargs)
  monkeypatch.setattr(loader.grain, "ReadOptions", options)
  loader.batches(Numbers(10), 2, 0)
  assert given == [{"num_threads": threads, "prefetch_buffer_size": threads}]


@pytest.mark.parametrize("step", [1, 3, 4, 7])
def test_batches_can_be_resumed_at_any_step(step):
  """Holds past the end of an epoch too, and with another number of threads."""
  arguments = (Numbers(13), 3, 5, add_noise)
  batches = iter(loader.batches(*arguments))
  for _ in range(step):
    next(batches)
  state = batches.get_state()
  expected = [next(batches) for _ in range(6)]
  again = iter(loader.batches(*arguments, num_threads=4))
  again.set_state(state)
  for batch in expected:
    resumed = next(again)
    np.testing.assert_array_equal(resumed["number"], batch["number"])
    np.testing.assert_array_equal(resumed["noise"], batch["noise"])


def test_every_epoch_has_all_clips_in_another_order(clips):
  batches = iter(loader.batches(clips, 5, 0))
  epochs = [names(next(batches)) + names(next(batches)) for _ in range(3)]
  assert all(len(set(epoch)) == CLIPS for epoch in epochs)
  assert epochs[0] != epochs[1] != epochs[2]


def test_an_iterator_resumes_where_its_state_was_taken(clips):
  batches = iter(pairs.make_pairs_dataset(clips, 4, 3))
  for _ in range(3):
    next(batches)
  state = json.loads(json.dumps(batches.get_state()))
  expected = [next(batches) for _ in range(3)]
  again = iter(pairs.make_pairs_dataset(clips, 4, 3, num_threads=3))
  again.set_state(state)
  for batch in expected:
    assert_same(next(again), batch)


def test_pairs_have_their_shapes_and_ranges_and_differ(clips):
  dataset = pairs.make_pairs_dataset(clips, 8, 0, pairs_per_clip=4)
  batch = next(iter(dataset))
  for key in ("ref_image", "driving_frame"):
    assert batch[key].shape == (8, SIZE, SIZE, 3)
    assert batch[key].dtype == np.float32
    assert batch[key].min() >= 0 and batch[key].max() <= 1
  assert batch["example_id"].dtype == np.int32
  assert len(set(batch["example_id"].tolist())) == 2
  assert len(np.unique(batch["ref_image"].sum((1, 2, 3)))) > 4
  other = next(iter(pairs.make_pairs_dataset(clips, 8, 1, pairs_per_clip=4)))
  assert not np.array_equal(batch["ref_image"], other["ref_image"])


def test_batches_that_cannot_be_split_are_refused(clips):
  with pytest.raises(ValueError, match="batch of 3.*2 processes"):
    loader.batches(clips, 3, 0, None, 0, 2)
  with pytest.raises(ValueError, match=r"multiple of 4, not 6: .*data.pairs_per_clip"):
    pairs.make_pairs_dataset(clips, 6, 0, pairs_per_clip=4)
  with pytest.raises(ValueError, match="no clips"):
    loader.batches(Numbers(0), 1, 0)


@pytest.mark.parametrize(
  "expect, both",
  [
    ({"fps": 20}, "fps is 10, expected 20"),
    ({"frame_size": 128}, "frame_size is 16, expected 128"),
    ({"encoder": "clap"}, "encoder is spectral, expected clap"),
    ({"size": 3}, "no setting 'size' .expected 3"),
  ],
)
def test_a_difference_from_the_expected_settings_is_named(data_dir, expect, both):
  with pytest.raises(RecordError, match=both):
    loader.open_clips(data_dir, "train", expect=expect)
  fine = {"fps": FPS, "encoder": "spectral", "num_frames": NUM_FRAMES}
  loader.open_clips(data_dir, "train", expect=fine)


def test_another_schema_is_named(data_dir):
  manifest = loader.read_manifest(data_dir)
  manifest["settings"]["schema_version"] = 77
  with pytest.raises(RecordError, match="for schema 77, this .* schema 2; delete it"):
    loader.check_manifest(manifest, {}, data_dir)


def test_a_remote_data_set_is_read_from_copies(data_dir, tmp_path, monkeypatch):
  monkeypatch.setenv(files.VARIABLE, str(tmp_path))
  paths = [path for path in data_dir.rglob("*") if path.is_file()]
  names = [path.relative_to(data_dir).as_posix() for path in paths]
  with objects(monkeypatch) as store:
    with pytest.raises(RecordError, match="gs://bucket/set contains no finished"):
      loader.open_clips("gs://bucket/set", "train")
    files.send(data_dir, names, "gs://bucket/set")
    remote = loader.open_clips("gs://bucket/set", "train")
    store.store.clear()
  local = loader.open_clips(data_dir, "train")
  for actual, expected in zip(remote, local, strict=True):
    assert_same(actual, expected)
  copies = [path.name for path in tmp_path.rglob("*") if path.is_file()]
  assert len(copies) == 3 and not any("test" in name for name in copies)


def test_a_remote_data_set_without_the_package_for_it_names_the_extra(monkeypatch):
  monkeypatch.setitem(sys.modules, "gcsfs", None)  # as if it were not installed
  with pytest.raises(UserError, match=r'run: pip install "dabfusion_jax\[gcs\]"'):
    loader.open_clips("gs://bucket/set", "train")


def test_missing_shards_are_named(data_dir, tmp_path):
  copy = tmp_path / "set"
  shutil.copytree(data_dir, copy)
  (shard,) = copy.rglob("*-train.*")
  shard.unlink()
  with pytest.raises(RecordError, match="set/shards is damaged"):
    loader.open_clips(copy, "train")
  assert len(loader.open_clips(copy, "test")) == 2


def test_a_missing_data_set_split_or_kind_of_beats_is_named(data_dir, tmp_path):
  with pytest.raises(RecordError, match="no finished data set"):
    loader.open_clips(tmp_path, "train")
  with pytest.raises(RecordError, match="no split 'dev'.*test, train"):
    loader.open_clips(data_dir, "dev")
  with pytest.raises(RecordError, match="no 'madmom' beats"):
    loader.open_clips(data_dir, "train", beats="madmom")


@pytest.mark.parametrize("place, cut", [(100, False), (100, True), (-100, True)])
def test_a_damaged_shard_is_one_line(data_dir, tmp_path, place, cut):
  copy = tmp_path / "set"
  shutil.copytree(data_dir, copy)
  (shard,) = copy.rglob("*-train.*")
  data = bytearray(shard.read_bytes())
  data[place : place + 50] = b"" if cut else bytes(range(50))
  shard.write_bytes(data)
  with pytest.raises(RecordError, match="shards is damaged") as error:
    clips = loader.Clips(copy, "train")  # unlike `open_clips`, read by no type check
    for index in range(len(clips)):
      clips[index]
  assert "\n" not in str(error.value)


def test_processes_make_the_batches_and_positions_of_threads(clips):
  threads = iter(pairs.make_pairs_dataset(clips, 4, 3, num_threads=1))
  processes = iter(pairs.make_pairs_dataset(clips, 4, 3, num_processes=2))
  for _ in range(3):
    assert_same(next(processes), next(threads))
  assert processes.get_state() == threads.get_state()
  expected = [next(threads) for _ in range(2)]
  state = processes.get_state()
  for _ in range(3):
    next(processes)
  processes.set_state(state)  # with elements in the making
  for batch in expected:
    assert_same(next(processes), batch)


def kill(record, rng):
  """Ends the process that reads, as the kernel does if memory is exhausted."""
  os.kill(os.getpid(), signal.SIGKILL)


def test_a_reading_process_that_is_killed_is_one_line():
  batches = iter(loader.batches(Numbers(10), 2, 0, kill, num_processes=1))
  with pytest.raises(UserError, match="was killed.*reading_processes"):
    next(batches)


def lose(record, rng):
  """Fails as reading does if the shards have gone."""
  raise FileNotFoundError("clips.array_record")


def test_an_error_of_a_reading_process_is_not_taken_for_its_death():
  batches = iter(loader.batches(Numbers(10), 2, 0, lose, num_processes=1))
  with pytest.raises(FileNotFoundError, match="clips.array_record"):
    next(batches)
