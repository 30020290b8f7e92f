"""Makes batches in processes of their own.

Threads that read hold Python's interpreter lock in turn. A training loop that only
starts work on a device then waits for the lock whenever it comes back from a call, and
the more threads read, the longer. Processes leave the lock to the loop. In a dataset of
Grain's own `mp_prefetch`, a position is valid for one number of workers only. Batches
come back in shared memory (`shared_batch`).
"""

import concurrent.futures
import multiprocessing.util
import threading
import weakref
from concurrent.futures.process import BrokenProcessPool

import grain

from data_pipeline.errors import UserError
from data_pipeline.records.clip_record import Record
from data_pipeline.records.shared_batch import SharedBatch
from data_pipeline.workers import start_workers


class Readers:
  """Returns elements of a dataset, made in other processes, by their index.

  The processes start with the first elements. Many threads may ask at once; each waits
  for its own element. An element is the same as `dataset[index]`, whose source and
  transforms must be picklable.
  """

  def __init__(self, dataset: grain.MapDataset, num_processes: int) -> None:
    self._dataset, self._num_processes = dataset, num_processes
    self._lock = threading.Lock()
    self._executor: concurrent.futures.ProcessPoolExecutor | None = None

  def __call__(self, index: int) -> Record:
    killed = UserError(
      "A process that reads the data was killed, perhaps because memory was exhausted;"
      " use fewer of them (--config.data.reading_processes, 0: none)."
    )
    try:
      shared = self._start().submit(_make, index).result()
    except BrokenProcessPool:
      raise killed from None
    try:
      return shared.open()
    except (EOFError, OSError):  # the reader is gone, and its descriptor with it
      raise killed from None

  def _start(self) -> concurrent.futures.ProcessPoolExecutor:
    with self._lock:
      if self._executor is None:
        # The sockets that pass descriptors then lie in a folder of this process, which
        # removes it, and not in one of each reader.
        multiprocessing.util.get_temp_dir()
        self._executor = start_workers(
          self._num_processes, prepare=_open, arguments=(self._dataset,)
        )
        shutdown = self._executor.shutdown
        weakref.finalize(self, shutdown, wait=False, cancel_futures=True)
      return self._executor


_dataset: grain.MapDataset  # of a reading process


def _open(dataset: grain.MapDataset) -> None:
  global _dataset
  _dataset = dataset


def _make(index: int) -> SharedBatch:
  return SharedBatch.of(_dataset[index])
