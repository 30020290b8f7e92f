"""Cached outputs of a frozen stage 1, so that stage 2 never touches pixels.

For each clip: flow and occlusion of every frame from the picture, and z of the picture
(paper sec. 3.3), as ArrayRecord shards. The picture is the first frame, or in a share
of the training clips any frame: the windows of a long dance do not begin in the pose of
its picture. Every local device takes a clip at a time.
"""

import functools
import hashlib
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import tqdm
from array_record.python import array_record_module
from etils import epath

from dabfusion_jax.config import make_autoencoder
from dabfusion_jax.ops.pixels import from_uint8
from dabfusion_jax.parallel.row_parallel import RowParallel
from dabfusion_jax.storage.saved_stage import SavedStage, load_stage
from data_pipeline import files
from data_pipeline.locks import LOCK
from data_pipeline.records import latent_record, loader
from data_pipeline.records.latent_record import LatentError
from data_pipeline.records.silence import read_silence

CLIPS_PER_SHARD = 64

Example = tuple[Mapping[str, Any], int]  # a clip, and which frame is its picture


def cache_latents(
  checkpoint: epath.PathLike,
  data: epath.PathLike,
  output: epath.PathLike,
  process_index: int = 0,
  process_count: int = 1,
  elsewhere: float = 0.0,
) -> None:
  """Writes, or completes, the latent cache of all splits of a data set.

  Args:
    checkpoint: stage 1, a workdir or published folder.
    data: folder made by `data_pipeline.build`.
    output: folder of the cache.
    process_index: which share of the shards to write, from 0.
    process_count: how many shares there are.
    elsewhere: share of the training clips whose picture is any of their frames; 0 in
      the paper.

  Raises:
    LatentError: the folder holds a cache of other weights, data or settings.
    SavedStageError, RecordError: stage 1 or the data are not there.
  """
  if not 0 <= process_index < process_count:
    raise LatentError(f"There is no process {process_index} of {process_count}.")
  if not 0 <= elsewhere <= 1:
    raise LatentError(f"elsewhere is a share, from 0 to 1, not {elsewhere}.")
  stage1 = load_stage(checkpoint, "autoencoder")
  manifest = loader.read_manifest(data)
  identity = {
    "schema_version": latent_record.SCHEMA_VERSION,
    "autoencoder": stage1.digest,
    "data": manifest["content_sha256"],
    "clips_per_shard": CLIPS_PER_SHARD,
    "elsewhere": elsewhere,
  }
  output = epath.Path(output)
  if _is_finished(output, identity):
    print(f"{output} is complete.")
    return
  silence = read_silence(data)
  analyse = _make_analysis(stage1, jax.local_devices())
  pick = {"train": functools.partial(_picture_of, share=elsewhere)}
  trained = stage1.settings.data
  expect = {"frame_size": trained.frame_size, "fps": trained.fps}
  fields = ("name", "window", "frames", "music", "beat_times", "true_beat_times")
  tracker = manifest["beats"][0]
  shards: dict[str, list[str]] = {}
  number, num_clips, started = 0, 0, time.monotonic()
  for split in sorted(manifest["counts"]):
    clips = loader.open_clips(data, split, expect=expect, fields=fields)
    starts = range(0, len(clips), CLIPS_PER_SHARD)
    shards[split] = []
    with tqdm.tqdm(total=len(clips), desc=f"latents, {split}", unit="clip") as bar:
      for index, start in enumerate(starts):
        name = f"{split}-{index:05d}-of-{len(starts):05d}.array_record"
        shards[split].append(name)
        number += 1
        chosen = range(start, min(start + CLIPS_PER_SHARD, len(clips)))
        if (number - 1) % process_count != process_index or _is_written(output / name):
          bar.update(len(chosen))
        else:
          examples = (
            (clip, pick[split](clip) if split in pick else 0)
            for clip in map(clips.__getitem__, chosen)
          )
          _write_shard(output / name, examples, analyse, bar, tracker)
          num_clips += len(chosen)
  speed = num_clips / (time.monotonic() - started)
  print(f"{num_clips} clips written, {speed:.2f} per second.")
  paths = [output / name for names in shards.values() for name in names]
  if not all(map(_is_written, paths)):
    print(f"{output} waits for the other processes.")
    return
  sums = [_read_sums(output / name) for name in shards.get("train", [])]
  counts = {split: manifest["counts"][split]["clips"] for split in shards}
  files.write_json(
    output / latent_record.MANIFEST,
    identity
    | {
      key: manifest["settings"][key]
      for key in ("fps", "num_frames", "encoder", "frame_size", "framing")
    }
    | {"shards": shards, "counts": counts, "statistics": _combine(sums)}
    | {"silence": silence.tolist()},
  )
  size = sum(path.stat().length for path in paths)
  print(
    f"{output}: {size / 2**20:.1f} MiB, {size / sum(counts.values()) / 1e3:.0f} kB per"
    " clip."
  )


def _make_analysis(
  stage1: SavedStage, devices: Sequence[jax.Device]
) -> Callable[[Iterable[Example]], Iterator[tuple[Mapping[str, Any], Any]]]:
  """Returns a function examples -> (clip, (motion, z)), run on all devices at once."""
  model = make_autoencoder(stage1.settings.model)
  rows = RowParallel(devices)
  variables = rows.share(stage1.variables)

  def analyse_clip(variables, frames, picture):
    frames = from_uint8(frames)
    return model.apply(variables, frames, picture, method="analyse_clip")

  analyse = rows.compile(jax.vmap(analyse_clip, in_axes=(None, 0, 0)), num_shared=1)

  def run(examples):
    before = None
    examples = iter(examples)
    while given := list(itertools.islice(examples, len(devices))):
      group = [clip for clip, _ in given]
      padded = given + given[-1:] * (len(devices) - len(given))
      frames = np.stack([clip["frames"] for clip, _ in padded])
      pictures = np.array([picture for _, picture in padded], np.int32)
      outputs = analyse(variables, rows.split(frames), rows.split(pictures))
      # The next clips are decoded while these are computed.
      if before is not None:
        yield from _unstack(*before)
      before = group, outputs
    if before is not None:
      yield from _unstack(*before)

  return run


def _picture_of(clip: Mapping[str, Any], share: float) -> int:
  """Returns which frame of a clip is its picture, always the same for the same clip."""
  name = f"{clip['name']}.{clip['window']}".encode()
  digest = hashlib.sha256(name).digest()
  rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
  return int(rng.integers(len(clip["frames"]))) if rng.random() < share else 0


def _unstack(group: list[Any], outputs: Any) -> Iterator[tuple[Any, Any]]:
  outputs = jax.device_get(outputs)
  for i, clip in enumerate(group):
    yield clip, jax.tree.map(lambda leaf, i=i: leaf[i], outputs)


def _is_finished(output: epath.Path, identity: Mapping[str, Any]) -> bool:
  """Returns whether a cache of the same identity is finished; refuses other content."""
  path = output / "identity.json"
  if path.exists():
    found = files.read_json(path)
    differing = [key for key in identity if found.get(key) != identity[key]]
    if differing:
      raise LatentError(
        f"{output} caches other latents ({', '.join(differing)} differ); choose another"
        " --output or delete it."
      )
    return (output / latent_record.MANIFEST).exists()
  output.mkdir(parents=True, exist_ok=True)
  if not files.is_remote(output):  # buckets have no folders, and listings may be old
    # Another process may be about to write the same identity.
    begun = (".identity.", LOCK)
    others = {p.name for p in output.iterdir() if not p.name.startswith(begun)}
    if others - {path.name}:
      raise LatentError(f"{output} holds other files; choose an empty folder.")
  files.write_json(path, identity)
  return False


def _sums_file(shard: epath.Path) -> epath.Path:
  return shard.with_name(f"{shard.name}.json")


def _is_written(shard: epath.Path) -> bool:
  return shard.exists() and _sums_file(shard).exists()


def _read_sums(shard: epath.Path) -> dict[str, Any]:
  return files.read_json(_sums_file(shard))


def _write_shard(path: epath.Path, examples, analyse, bar, tracker: str) -> None:
  """Writes a shard, then the sums of its residual flow beside it; both whole."""
  count, square, largest = 0, 0.0, 0.0
  with files.whole_file(path) as file:
    writer = array_record_module.ArrayRecordWriter(str(file), "group_size:1")
    for clip, (motion, z) in analyse(examples):
      record = {
        "flow": np.asarray(motion.flow),
        "occlusion": np.asarray(motion.occlusion),
        "z": np.asarray(z),
        "music": clip["music"],
        f"{tracker}_beats": clip["beat_times"],
      }
      if "true_beat_times" in clip:
        record["truth_beats"] = clip["true_beat_times"]
      writer.write(latent_record.encode(record, f"{clip['name']}.{clip['window']}"))
      grid = latent_record.identity_grid(*record["flow"].shape[1:3])
      residual = record["flow"] - grid
      count += residual.size
      square += float(np.square(residual, dtype=np.float64).sum())
      largest = max(largest, float(np.abs(residual).max()))
      bar.update()
    writer.close()
  sums = {"count": count, "square": square, "largest": largest}
  files.write_json(_sums_file(path), sums)


def _combine(sums: Sequence[dict[str, Any]]) -> dict[str, Any]:
  """Returns the rms and the largest magnitude of the training clips' residual flow."""
  count = max(sum(s["count"] for s in sums), 1)
  return {
    "residual_rms": (sum(s["square"] for s in sums) / count) ** 0.5,
    "residual_max": max((s["largest"] for s in sums), default=0.0),
  }
