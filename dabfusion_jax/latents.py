r"""Runs a frozen stage 1 over clips once, so that stage 2 never touches pixels.

  python -m dabfusion_jax.latents --checkpoint=runs/demo_autoencoder \
    --data=data/synthdance_demo --output=data/demo_latents

Flow and occlusion of every frame from the first, and z of the first (paper sec. 3.3),
as ArrayRecord shards. Every local device takes a clip at a time. Several processes, on
one machine or many, share the work with --process_count=N --process_index=0..N-1 and
a common folder; whichever ends last writes the manifest. The cache is bound to the
weights, the data and the settings by hash; an interrupted run goes on at the first
missing shard.
"""

import argparse
import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tqdm
from array_record.python import array_record_module
from etils import epath

from dabfusion_jax.config import make_autoencoder
from dabfusion_jax.storage import saved_stage
from data_pipeline import files
from data_pipeline.cli import one_line_errors, positive_int
from data_pipeline.records import latent_record, loader
from data_pipeline.records.latent_record import LatentError
from data_pipeline.records.silence import read_silence

CLIPS_PER_SHARD = 64


def cache_latents(
  checkpoint: epath.PathLike,
  data: epath.PathLike,
  output: epath.PathLike,
  process_index: int = 0,
  process_count: int = 1,
) -> None:
  """Writes, or completes, the latent cache of all splits of a data set.

  Args:
    checkpoint: stage 1, a workdir or published.
    data: folder made by `data_pipeline.build`.
    output: folder of the cache.
    process_index, process_count: which share of the shards to write.

  Raises:
    LatentError: the folder holds a cache of other weights, data or settings.
    TrainedError, RecordError: stage 1 or the data are not there.
  """
  if not 0 <= process_index < process_count:
    raise LatentError(f"There is no process {process_index} of {process_count}.")
  stage1 = saved_stage.load_trained(checkpoint, "autoencoder")
  manifest = loader.read_manifest(data)
  identity = {
    "schema_version": latent_record.SCHEMA_VERSION,
    "autoencoder": stage1.digest,
    "data": manifest["content_sha256"],
    "clips_per_shard": CLIPS_PER_SHARD,
  }
  output = epath.Path(output)
  if _is_finished(output, identity):
    print(f"{output} is complete.")
    return
  silence = read_silence(data)
  analyse = _make_analysis(stage1)
  expect = {key: stage1.config["data"][key] for key in ("frame_size", "fps")}
  fields = ("name", "window", "frames", "music", "beat_times", "true_beat_times")
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
          _write_shard(output / name, (clips[i] for i in chosen), analyse, bar)
          num_clips += len(chosen)
  speed = num_clips / (time.monotonic() - started)
  print(f"{num_clips} clips written, {speed:.2f} a second.")
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
    f"{output}: {size / 2**20:.1f} MiB, {size / sum(counts.values()) / 1e3:.0f} kB a"
    " clip."
  )


def _make_analysis(
  stage1: saved_stage.Trained,
) -> Callable[[Iterator[Mapping[str, Any]]], Iterator[tuple[Mapping[str, Any], Any]]]:
  """What runs stage 1 over clips, one on each local device at a time."""
  model = make_autoencoder(stage1.config)
  devices = jax.local_devices()
  mesh = jax.sharding.Mesh(np.asarray(devices), ("clip",))
  one_each = jax.NamedSharding(mesh, jax.P("clip"))
  variables = jax.device_put(stage1.variables, jax.NamedSharding(mesh, jax.P()))

  @jax.jit
  def analyse(variables, frames):
    def one(frames):
      frames = frames.astype(jnp.float32) / 255.0
      return model.apply(variables, frames, method="analyse_clip")

    return jax.vmap(one)(frames)

  def run(clips):
    before = None
    for group in _in_groups(clips, len(devices)):
      frames = [clip["frames"] for clip in group]
      frames += frames[-1:] * (len(devices) - len(frames))
      found = analyse(variables, jax.device_put(np.stack(frames), one_each))
      # Not waited for: the next clips are decoded meanwhile.
      if before is not None:
        yield from _each(*before)
      before = group, found
    if before is not None:
      yield from _each(*before)

  return run


def _in_groups(clips: Iterator[Any], size: int) -> Iterator[list[Any]]:
  while group := list(itertools.islice(clips, size)):
    yield group


def _each(group: list[Any], found: Any) -> Iterator[tuple[Any, Any]]:
  found = jax.device_get(found)
  for i, clip in enumerate(group):
    yield clip, jax.tree.map(lambda leaf, i=i: leaf[i], found)


def _is_finished(output: epath.Path, identity: Mapping[str, Any]) -> bool:
  """True for a finished cache of the same identity; refuses any other content."""
  path = output / "identity.json"
  if path.exists():
    found = json.loads(path.read_text())
    differing = [key for key in identity if found.get(key) != identity[key]]
    if differing:
      raise LatentError(
        f"{output} caches other latents ({', '.join(differing)} differ); choose another"
        " --output or delete it."
      )
    return (output / latent_record.MANIFEST).exists()
  output.mkdir(parents=True, exist_ok=True)
  if not files.is_remote(output):  # stores have no folders; a list of them may be old
    # Another process may be about to write the same identity.
    others = {p.name for p in output.iterdir() if not p.name.startswith(".identity.")}
    if others - {path.name}:
      raise LatentError(f"{output} is not empty and no latent cache; choose another.")
  files.write_json(path, identity)
  return False


def _sums_file(shard: epath.Path) -> epath.Path:
  return shard.with_name(f"{shard.name}.json")


def _is_written(shard: epath.Path) -> bool:
  return shard.exists() and _sums_file(shard).exists()


def _read_sums(shard: epath.Path) -> dict[str, Any]:
  return json.loads(_sums_file(shard).read_text())


def _write_shard(path: epath.Path, clips, analyse, bar) -> None:
  """Writes a shard whole, then sums of its residual flow beside it."""
  count, square, largest = 0, 0.0, 0.0
  with files.whole_file(path) as file:
    writer = array_record_module.ArrayRecordWriter(str(file), "group_size:1")
    for clip, (motion, z) in analyse(clips):
      record = {
        "flow": np.asarray(motion.flow),
        "occlusion": np.asarray(motion.occlusion),
        "z": np.asarray(z),
        "music": clip["music"],
        "librosa_beats": clip["beat_times"],
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
  """Root mean square and largest magnitude of the training clips' residual flow."""
  count = max(sum(s["count"] for s in sums), 1)
  return {
    "residual_rms": (sum(s["square"] for s in sums) / count) ** 0.5,
    "residual_max": max((s["largest"] for s in sums), default=0.0),
  }


def main(argv: Sequence[str] | None = None) -> None:
  parser = argparse.ArgumentParser(
    prog="python -m dabfusion_jax.latents",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  add = parser.add_argument
  add("--checkpoint", required=True, help="stage 1: workdir or published folder")
  add("--data", required=True, help="folder made by data_pipeline.build")
  add("--output", required=True, help="folder of the cache")
  add("--process_index", type=int, default=0, help="which process this is")
  add(
    "--process_count",
    type=positive_int,
    default=1,
    help="processes that share the work",
  )
  args = parser.parse_args(argv)
  with one_line_errors("latent_cache"):
    cache_latents(
      args.checkpoint, args.data, args.output, args.process_index, args.process_count
    )


if __name__ == "__main__":
  main()
