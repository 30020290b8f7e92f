"""The shards of a latent cache: written whole, each with a list of its clips beside it.

The list says which clip each record was made from, so that a cache whose data set has
changed takes over the records of the clips that are still the same.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import grain
import numpy as np
import tqdm
from array_record.python import array_record_module
from etils import epath

from data_pipeline import files
from data_pipeline.records import latent_record
from data_pipeline.records.clip_record import Record

FIELDS = ("name", "window", "frames", "music", "beat_times", "true_beat_times")
_MADE_FROM = ("frames", "music", "beat_times", "true_beat_times")
_MADE_FROM += ("part_map", "part_pose", "surfaces")  # where motion is the true one

Example = tuple[Record, int]  # a clip, and which frame is its picture
# Maps examples to (clip, (motion, z)).
Analyse = Callable[[Iterable[Example]], Iterator[tuple[Record, Any]]]


def clip_name(clip: Record) -> str:
  """Returns the name of a clip, from its video and window."""
  return f"{clip['name']}.{clip['window']}"


def clip_digest(clip: Record, picture: int) -> str:
  """Returns a digest of all that the latents of a clip are made from."""
  digest = hashlib.sha256(f"picture {picture}".encode())
  for key in _MADE_FROM:
    if key in clip:
      array = np.ascontiguousarray(clip[key])
      digest.update(f"{key} {array.dtype.str} {array.shape}".encode())
      digest.update(array.tobytes())
  return digest.hexdigest()[:32]


def is_written(shard: epath.Path) -> bool:
  """Returns whether a shard is complete."""
  return shard.exists() and _list_file(shard).exists()


def read_list(shard: epath.Path) -> list[dict[str, Any]]:
  """Returns name, digest and sums of the residual flow of each clip of a shard."""
  return files.read_json(_list_file(shard)).get("clips", [])


def remove_others(folder: epath.Path, names: Sequence[str]) -> None:
  """Removes all shards of a cache but the named ones."""
  for path in folder.glob("*.array_record"):
    if path.name not in names:
      _list_file(path).unlink(missing_ok=True)
      path.unlink(missing_ok=True)


class Kept:
  """Finished records of a cache, by the clips they were made from.

  Attributes:
    names: of these clips.
    num_used: how many were taken over.
  """

  def __init__(self, shards: Iterable[epath.Path], weights: str) -> None:
    """Reads the lists of shards.

    Args:
      shards: those that are not complete are left out.
      weights: digest of the stage 1 that made them.
    """
    self.num_used = 0
    self._weights = weights
    self._sources: dict[epath.Path, grain.sources.ArrayRecordDataSource] = {}
    self._places: dict[tuple[str, str], tuple[epath.Path, int, dict[str, Any]]] = {}
    for shard in filter(is_written, shards):
      for index, entry in enumerate(read_list(shard)):
        self._places[entry["name"], entry["digest"]] = (shard, index, entry)
    self.names = {name for name, _ in self._places}

  def take(self, name: str, digest: str) -> tuple[bytes, dict[str, Any]] | None:
    """Returns the record of a clip and its entry of the list, or None."""
    found = self._places.get((name, digest))
    if found is None:
      return None
    shard, index, entry = found
    if shard not in self._sources:
      here = files.fetch(shard.parent, [shard.name], self._weights)
      path = str(here / shard.name)
      self._sources[shard] = grain.sources.ArrayRecordDataSource([path])
    self.num_used += 1
    return bytes(self._sources[shard][index]), entry


def write_shard(
  path: epath.Path,
  examples: Iterable[Example],
  analyse: Analyse,
  kept: Kept,
  tracker: str,
  bar: tqdm.tqdm,
) -> None:
  """Writes a shard, then the list of its clips; both whole.

  Args:
    path: of the shard.
    examples: clips with `FIELDS`, and the frames that are their pictures.
    analyse: runs stage 1.
    kept: records that need not be made.
    tracker: of the beats of the clips.
    bar: counts the clips.
  """
  found: dict[str, tuple[bytes, dict[str, Any]]] = {}
  order: list[str] = []

  def missing() -> Iterator[Example]:
    for clip, picture in examples:
      name, digest = clip_name(clip), clip_digest(clip, picture)
      order.append(name)
      taken = kept.take(name, digest)
      if taken is None:
        yield clip | {"digest": digest, "tracker": tracker}, picture
      else:
        found[name] = taken
        bar.update()

  for clip, outputs in analyse(missing()):
    found[clip_name(clip)] = _record_of(clip, outputs)
    bar.update()
  with files.whole_file(path) as file:
    writer = array_record_module.ArrayRecordWriter(str(file), "group_size:1")
    for name in order:
      writer.write(found[name][0])
    writer.close()
  files.write_json(_list_file(path), {"clips": [found[name][1] for name in order]})


def combine(lists: Iterable[Sequence[Mapping[str, Any]]]) -> dict[str, float]:
  """Returns the rms and the largest magnitude of the residual flow of all clips."""
  entries = [entry for entries in lists for entry in entries]
  count = max(sum(entry["count"] for entry in entries), 1)
  return {
    "residual_rms": (sum(entry["square"] for entry in entries) / count) ** 0.5,
    "residual_max": max((entry["largest"] for entry in entries), default=0.0),
  }


def _record_of(clip: Record, outputs: Any) -> tuple[bytes, dict[str, Any]]:
  """Returns the encoded record of a clip, and its entry of the list."""
  motion, z = outputs
  record = {
    "flow": np.asarray(motion.flow),
    "occlusion": np.asarray(motion.occlusion),
    "z": np.asarray(z),
    "music": clip["music"],
    f"{clip['tracker']}_beats": clip["beat_times"],
  }
  if "true_beat_times" in clip:
    record["truth_beats"] = clip["true_beat_times"]
  for key in latent_record.JOINTS:
    if key in clip:
      record[key] = np.asarray(clip[key], np.float32)
  name = clip_name(clip)
  residual = record["flow"] - latent_record.identity_grid(*record["flow"].shape[1:3])
  entry = {
    "name": name,
    "digest": clip["digest"],
    "count": residual.size,
    "square": float(np.square(residual, dtype=np.float64).sum()),
    "largest": float(np.abs(residual).max()),
  }
  return latent_record.encode(record, name), entry


def _list_file(shard: epath.Path) -> epath.Path:
  return shard.with_name(f"{shard.name}.json")
