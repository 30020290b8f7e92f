"""Tests of batches that pass from one process to another in shared memory."""

import gc
import os
import pickle

import numpy as np
import pytest

from data_pipeline.records.shared_batch import SharedBatch
from data_pipeline.workers import start_workers


def _batch(seed=0):
  rng = np.random.default_rng(seed)
  return {
    "frames": rng.integers(0, 256, (3, 5, 7, 3), np.uint8),
    "motion": rng.random((3, 5, 7, 2), np.float32),
    "is_visible": rng.random((3, 5, 7)) > 0.5,
    "mirrored": rng.random((4, 6), np.float32)[:, ::-1],
    "none": np.zeros((0, 2), np.float32),
    "names": ["one", "two", "three"],
  }


def _equal(found, expected):
  assert found.keys() == expected.keys()
  for key, value in expected.items():
    np.testing.assert_array_equal(found[key], value)
    if isinstance(value, np.ndarray):
      assert found[key].dtype == value.dtype


def _make(seed):
  return SharedBatch.of(_batch(seed))


@pytest.mark.parametrize("has_memory", [True, False], ids=["memory", "pipe"])
def test_a_batch_comes_back_as_it_was_and_can_be_written_to(has_memory, monkeypatch):
  if not has_memory:
    monkeypatch.delattr(os, "memfd_create", raising=False)
  found = SharedBatch.of(_batch()).open()
  _equal(found, _batch())
  if has_memory:
    assert found["motion"].ctypes.data % 64 == 0
    found["motion"][:] = 1.0


def test_arrays_outlive_the_process_that_made_them():
  with start_workers(1) as executor:
    found = executor.submit(_make, 5).result().open()
  _equal(found, _batch(5))


def test_without_arrays_there_is_nothing_to_share():
  assert SharedBatch.of({"n": 3}).open() == {"n": 3}


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="Linux only")
def test_the_bytes_of_the_arrays_do_not_pass_the_pipe():
  batch = {"frames": np.zeros(100_000, np.uint8)}
  shared = SharedBatch.of(batch)
  assert len(shared.rest) < 500
  assert not isinstance(shared.memory, bytes)
  _equal(shared.open(), batch)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="Linux only")
def test_no_descriptor_and_no_memory_stays_behind():
  def count():
    gc.collect()
    with open("/proc/self/maps") as file:
      maps = file.read().count("memfd:batch")
    return len(os.listdir("/proc/self/fd")), maps

  SharedBatch.of(_batch()).open()  # starts what passes descriptors
  descriptors, maps = count()
  for seed in range(20):
    _equal(SharedBatch.of(_batch(seed)).open(), _batch(seed))
  now_descriptors, now_maps = count()
  # What other tests have left in the process may be closed meanwhile.
  assert now_descriptors <= descriptors and now_maps == maps


def test_what_passes_the_pipe_can_be_pickled():
  shared = SharedBatch(b"rest", (1,), b"\0" * 64)
  assert pickle.loads(pickle.dumps(shared)) == shared
