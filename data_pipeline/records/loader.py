"""Reads shards as a random-access source of clips, and makes batches with Grain.

The seed determines everything: the shuffling over the whole split, and one random
generator per example and epoch, whatever the number of threads. The state of an
iterator (`get_state`, `set_state`) is one small dict that belongs in the checkpoint.
"""

import contextlib
import functools
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, SupportsIndex

import grain
import numpy as np
from etils import epath

from data_pipeline import files
from data_pipeline.errors import UserError
from data_pipeline.extras import needs_extra
from data_pipeline.music.beats import beat_features, beat_vector
from data_pipeline.records import clip_record
from data_pipeline.records.clip_record import Record, RecordError
from data_pipeline.records.in_memory import InMemory
from data_pipeline.records.readers import Readers
from data_pipeline.workers import count_cores

MANIFEST = "manifest.json"
SHARDS = f"shards/dance_clips/{clip_record.SCHEMA_VERSION}.0.0"  # as TFDS names it
DERIVED = ("example_id", "beats", "beat_features")
ENDLESS = 2**40  # batches
_MAX_THREADS = 16  # each keeps a batch ready

ExampleTransform = Callable[[Any, np.random.Generator], Record]


def read_manifest(data_dir: epath.PathLike) -> dict[str, Any]:
  """Reads the manifest of a finished data set.

  Raises:
    RecordError: there is none, or it is not the manifest of a data set.
  """
  path = epath.Path(data_dir) / MANIFEST
  with needs_extra("gcs"):
    exists = path.exists()
  if not exists:
    raise RecordError(
      f"{data_dir} contains no finished data set (no {MANIFEST}); run "
      f"`python -m data_pipeline.build --output={data_dir} ...` until it completes."
    )
  try:
    manifest = json.loads(path.read_text(encoding="utf-8"))
  except (ValueError, RecursionError) as error:
    raise RecordError(
      f"{path} is damaged ({error}); build the data set again."
    ) from None
  content = manifest if isinstance(manifest, dict) else {}
  if not all(isinstance(content.get(key), dict) for key in ("settings", "counts")):
    raise RecordError(
      f"{path} is not the manifest of a data set; give the output of "
      "data_pipeline.build."
    )
  return manifest


def check_manifest(
  manifest: Mapping[str, Any], expect: Mapping[str, Any], data_dir: epath.PathLike
) -> None:
  """Compares the settings of a data set with the expected ones.

  Args:
    manifest: of the data set.
    expect: any of num_frames, fps, frame_size, framing, and encoder (a name, or its
      whole identity).
    data_dir: for the message.

  Raises:
    RecordError: they differ; the message has both values of the first difference.
  """
  settings = manifest["settings"]
  schema = settings.get("schema_version")
  if schema != clip_record.SCHEMA_VERSION:
    raise RecordError(
      f"{data_dir} was built for schema {schema}, this program reads schema "
      f"{clip_record.SCHEMA_VERSION}; delete it and build it again."
    )
  for key, wanted in expect.items():
    if key not in settings:
      raise RecordError(
        f"{data_dir}: a data set has no setting {key!r} (expected {wanted})."
      )
    actual = settings[key]
    if key == "encoder" and isinstance(wanted, str):
      # `clap:PATH` says where the weights are; the manifest says which weights.
      actual, wanted = actual["name"], wanted.partition(":")[0]
    if actual != wanted:
      raise RecordError(
        f"{data_dir}: {key} is {actual}, expected {wanted}; change the config, or "
        f"build another data set with {key}={wanted}."
      )


class Clips(Sequence[Record]):
  """The clip records of one split, by index; see `open_clips`.

  Records (`data_pipeline.records.clip_record`) also have `example_id` (int32, the
  index), `beats` (float32 [t], 1 on beats) and `beat_features` (float32 [t 5]).
  """

  def __init__(
    self,
    data_dir: epath.PathLike,
    split: str,
    *,
    expect: Mapping[str, Any] | None = None,
    beats: str | None = None,
    fields: Collection[str] | None = None,
  ) -> None:
    self.data_dir, self.split = data_dir, split
    self.manifest = read_manifest(data_dir)
    check_manifest(self.manifest, expect or {}, data_dir)
    if split not in self.manifest["counts"]:
      raise RecordError(
        f"{data_dir} has no split {split!r}; it has "
        f"{', '.join(sorted(self.manifest['counts']))}."
      )
    beats = beats or self.manifest["beats"][0]
    if beats not in self.manifest["beats"]:
      raise RecordError(
        f"{data_dir} has no {beats!r} beats; it has "
        f"{', '.join(self.manifest['beats'])}."
      )
    self._beats, self._beat_key = beats, clip_record.BEATS[beats]
    self._fields = None if fields is None else frozenset(fields)
    self._place = f"{data_dir}/shards", f"delete {data_dir} and build again"
    self._source = self._open_shards()

  def _open_shards(self) -> grain.sources.RandomAccessDataSource:
    """Returns the features of the split, after copying remote shards."""
    # Imported here: latents need it not, and it takes half a second.
    import tensorflow_datasets as tfds

    def fetch(names: Sequence[str]) -> epath.Path:
      key = json.dumps(self.manifest, sort_keys=True)
      here = files.fetch(self.data_dir, [f"{SHARDS}/{name}" for name in names], key)
      if not all((here / SHARDS / name).is_file() for name in names):
        raise RecordError(
          f"{self.data_dir}/shards is damaged; delete {self.data_dir} and build again."
        )
      return epath.Path(here) / SHARDS

    folder = fetch(("dataset_info.json", "features.json"))
    with damage_is_named(*self._place):
      builder = tfds.builder_from_directory(folder)
      names = sorted(builder.info.splits[self.split].filenames)
    fetch(names)
    with damage_is_named(*self._place):
      source = builder.as_data_source(self.split)
      len(source)  # opens the shards
      return source

  def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    # Another process opens the shards by itself.
    reopen = functools.partial(Clips, beats=self._beats, fields=self._fields)
    return reopen, (self.data_dir, self.split)

  def __len__(self) -> int:
    return len(self._source)

  def __getitem__(self, index: SupportsIndex) -> Record:
    index = int(index)
    if not 0 <= index < len(self):
      raise IndexError(f"Clip {index} of {len(self)}.")
    wanted = self._fields
    with damage_is_named(*self._place):
      features = self._source[index]
      if wanted is None:
        record = clip_record.decode(features)
      else:
        needed = wanted | {self._beat_key, "fps"} if wanted & set(DERIVED) else wanted
        record = clip_record.decode(features, needed)
    if wanted is None or wanted & set(DERIVED):
      grid = (record[self._beat_key], 0.0, self.num_frames, record["fps"])
      record["example_id"] = np.int32(index)
      record["beats"] = beat_vector(*grid)
      record["beat_features"] = beat_features(*grid)
    if wanted is None:
      return record
    return {key: value for key, value in record.items() if key in wanted}

  @property
  def num_frames(self) -> int:
    """Returns the number of frames of every clip."""
    return self.manifest["settings"]["num_frames"]


@contextlib.contextmanager
def damage_is_named(place: str, cure: str) -> Iterator[None]:
  """Turns whatever the readers of shards raise for damage into a RecordError."""
  try:
    yield
  except (UserError, OSError):
    raise
  except Exception as error:
    reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
    if "open() failed" in reason:  # or moved, or too many files are open
      raise RecordError(f"{place} cannot be read ({reason}).") from error
    raise RecordError(f"{place} is damaged ({reason}); {cure}.") from error


def open_clips(
  data_dir: epath.PathLike,
  split: str,
  *,
  expect: Mapping[str, Any] | None = None,
  beats: str | None = None,
  fields: Collection[str] | None = None,
  cache_in_memory: bool = False,
) -> Sequence[Record]:
  """Opens one split of a data set.

  Args:
    data_dir: output of `data_pipeline.build`; if it is remote (`gs://...`), the shards
      of the split are copied to this machine (`data_pipeline.files`).
    split: train, test, ...
    expect: expected settings, see `check_manifest`.
    beats: source of `beats` and `beat_features`: the tracker of the data set, or
      `truth` if known; the tracker if None.
    fields: keys wanted; reading is faster without the others. All if None.
    cache_in_memory: keep decoded records; 40 frames of 64 pixels alone take 0.5 MB.

  Raises:
    RecordError: there is no such data set or split, or it is not the expected one; the
      message has both values.
    OSError: the folder is remote, and cannot be copied.
  """
  clips = Clips(data_dir, split, expect=expect, beats=beats, fields=fields)
  return InMemory(clips) if cache_in_memory else clips


def batches(
  source: grain.sources.RandomAccessDataSource,
  batch_size: int,
  seed: int,
  transform: ExampleTransform | None = None,
  process_index: int = 0,
  process_count: int = 1,
  *,
  num_threads: int | None = None,
  num_processes: int = 0,
  batch_fn: Callable[[Sequence[Record]], Record] | None = None,
  num_batches: int = ENDLESS,
) -> grain.IterDataset:
  """Makes batches of a source, shuffled again in every epoch.

  A batch is the same for any number of processes, each of which reads only its own part
  of it. So a run can be resumed with more or fewer processes, and no process runs out
  of data before another.

  Args:
    source: records by index.
    batch_size: over all processes.
    seed: of the order and of all random draws.
    transform: makes an example of a record and a random generator of its own; the
      example is the record itself if None.
    process_index, process_count: which part of each batch to read.
    num_threads: number of threads that read ahead, and of batches kept ready; if None,
      as many as there are cores for this process, but at most 16.
    num_processes: number of processes that make the batches in place of the threads,
      which then only wait for them; 0: none. Batches and positions are the same for any
      number.
    batch_fn: joins examples to a batch; stacks them if None.
    num_batches: how many there are.

  Returns:
    A Grain dataset whose iterators have `get_state` and `set_state`.

  Raises:
    UserError: the batch cannot be split evenly, or there are no clips.
  """
  if batch_size % process_count or batch_size < 1:
    raise UserError(
      f"A batch of {batch_size} cannot be split over {process_count} processes."
    )
  if not len(source):
    raise UserError("There are no clips to make batches of.")
  examples = grain.MapDataset.source(source).seed(seed).shuffle()
  examples = examples.repeat(reseed_each_epoch=True)
  if transform is not None:
    examples = examples.random_map(transform)
  # With batches of 4 over 2 processes, process 1 reads the examples marked x:
  #   index  0 1 2 3 | 4 5 6 7 | ...
  #              x x |     x x |
  part = batch_size // process_count
  first = part * process_index
  mine = functools.partial(_example, examples, batch_size, part, first)
  chain = grain.MapDataset.range(part * num_batches).map(mine)
  chain = chain.batch(part, drop_remainder=True, batch_fn=batch_fn)
  num_threads = num_threads or min(count_cores(), _MAX_THREADS)
  if num_processes:
    num_threads = num_processes
    chain = grain.MapDataset.range(len(chain)).map(Readers(chain, num_processes))
  return chain.to_iter_dataset(
    grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=num_threads)
  )


def _example(
  examples: grain.MapDataset, batch_size: int, part: int, first: int, index: int
) -> Record:
  """Returns an example of this process by its number; reading processes import this."""
  return examples[index // part * batch_size + first + index % part]
