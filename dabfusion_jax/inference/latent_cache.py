"""Cached outputs of a frozen stage 1, so that stage 2 never touches pixels.

For each clip: flow and occlusion of every frame from the picture, and z of the picture
(paper sec. 3.3), as ArrayRecord shards. The picture is the first frame, or in a share
of the training clips any frame: the windows of a long dance do not begin in the pose of
its picture. Every local device takes a clip at a time.
"""

import functools
import hashlib
import itertools
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import tqdm
from etils import epath

from dabfusion_jax.config import make_autoencoder
from dabfusion_jax.inference import latent_shards
from dabfusion_jax.inference.latent_shards import Example
from dabfusion_jax.models.dense_motion import Motion
from dabfusion_jax.ops.pixels import from_uint8
from dabfusion_jax.ops.true_flow import true_flow
from dabfusion_jax.parallel.row_parallel import RowParallel
from dabfusion_jax.storage.saved_stage import SavedStage, load_stage
from data_pipeline import files
from data_pipeline.building.manifest import made_from, without_labels
from data_pipeline.locks import LOCK
from data_pipeline.records import latent_record, loader
from data_pipeline.records.body_parts import joints_of
from data_pipeline.records.latent_record import LatentError
from data_pipeline.records.mirrored import WithMirrored
from data_pipeline.records.silence import read_silence
from data_pipeline.records.true_motion import clip_motion

CLIPS_PER_SHARD = 64


def cache_latents(
  checkpoint: epath.PathLike,
  data: epath.PathLike,
  output: epath.PathLike,
  process_index: int = 0,
  process_count: int = 1,
  elsewhere: float = 0.0,
  has_true_motion: bool = False,
  mirrored: bool = False,
) -> None:
  """Writes, or completes, the latent cache of all splits of a data set.

  If the data set has changed since, the latents of clips that are the same are kept.
  Until the new ones are complete, the old ones can be used.

  Args:
    checkpoint: stage 1, a workdir or published folder.
    data: folder made by `data_pipeline.build`.
    output: folder of the cache.
    process_index: which share of the shards to write, from 0.
    process_count: how many shares there are.
    elsewhere: share of the training clips whose picture is any of their frames; 0 in
      the paper.
    has_true_motion: flow and occlusion are those of the generated bodies, and not what
      stage 1 finds; a departure. Their joints are cached beside.
    mirrored: each training clip is also cached as a mirror shows it; a departure.

  Raises:
    LatentError: the true motion is asked for, but not known; or the folder holds a
      cache of other weights, settings, or of a data set without any clip of this one.
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
    "settings": _digest(without_labels(manifest["settings"])),
    "clips_per_shard": CLIPS_PER_SHARD,
    "elsewhere": elsewhere,
    "true_motion": has_true_motion,
    "joints": has_true_motion,
    "mirrored": mirrored,
  }
  fields = latent_shards.FIELDS
  if has_true_motion:
    fields = (*fields, "part_map", "part_pose", "surfaces")
  output = epath.Path(output)
  if _is_finished(output, identity):
    print(f"{output} is complete.")
    return
  counts = {split: count["clips"] for split, count in manifest["counts"].items()}
  if mirrored and "train" in counts:
    counts["train"] *= 2
  shards = _name_shards(counts, manifest["content_sha256"])
  ours = {name for names in shards.values() for name in names}
  others = [p for p in output.glob("*.array_record") if p.name not in ours]
  kept = latent_shards.Kept(others, stage1.digest)
  _begin(output, identity, data, kept.names & _clip_names(manifest))
  silence = read_silence(data)
  make_analysis = _make_true_analysis if has_true_motion else _make_analysis
  analyse = make_analysis(stage1, jax.local_devices())
  pick = {"train": functools.partial(_picture_of, share=elsewhere)}
  trained = stage1.settings.data
  expect = {"frame_size": trained.frame_size, "fps": trained.fps}
  tracker = manifest["beats"][0]
  number, num_clips, started = 0, 0, time.monotonic()
  for split, names in shards.items():
    clips = loader.open_clips(data, split, expect=expect, fields=fields)
    if has_true_motion and "part_map" not in clips[0]:
      raise LatentError(
        f"{data} does not hold the true motion; leave out --true_motion."
      )
    if mirrored and split == "train":
      clips = WithMirrored(clips)
    with tqdm.tqdm(total=len(clips), desc=f"latents, {split}", unit="clip") as bar:
      for index, name in enumerate(names):
        start, path = index * CLIPS_PER_SHARD, output / name
        chosen = range(start, min(start + CLIPS_PER_SHARD, len(clips)))
        is_ours = number % process_count == process_index
        number += 1
        if not is_ours or latent_shards.is_written(path):
          bar.update(len(chosen))
          continue
        examples = (
          (clip, pick[split](clip) if split in pick else 0)
          for clip in map(clips.__getitem__, chosen)
        )
        latent_shards.write_shard(path, examples, analyse, kept, tracker, bar)
        num_clips += len(chosen)
  speed = num_clips / (time.monotonic() - started)
  again = f", {kept.num_used} of them kept" if kept.num_used else ""
  print(f"{num_clips} clips written{again}, {speed:.2f} per second.")
  paths = [output / name for names in shards.values() for name in names]
  if not all(map(latent_shards.is_written, paths)):
    print(f"{output} waits for the other processes.")
    return
  lists = (latent_shards.read_list(output / name) for name in shards.get("train", []))
  files.write_json(
    output / latent_record.MANIFEST,
    identity
    | made_from(manifest)
    | {
      key: manifest["settings"][key]
      for key in ("fps", "num_frames", "encoder", "frame_size", "framing")
    }
    | {"shards": shards, "counts": counts}
    | {"statistics": latent_shards.combine(lists), "silence": silence.tolist()},
  )
  latent_shards.remove_others(output, sorted(ours))
  size = sum(path.stat().length for path in paths)
  print(
    f"{output}: {size / 2**20:.1f} MiB, {size / sum(counts.values()) / 1e3:.0f} kB per"
    " clip."
  )


def _name_shards(counts: Mapping[str, int], content: str) -> dict[str, list[str]]:
  """Returns the names of the shards by split; another content gives other names."""
  shards = {}
  for split in sorted(counts):
    count = -(-counts[split] // CLIPS_PER_SHARD)
    shards[split] = [
      f"{split}-{content[:8]}-{index:05d}-of-{count:05d}.array_record"
      for index in range(count)
    ]
  return shards


def _clip_names(manifest: Mapping[str, Any]) -> set[str]:
  return {name for names in manifest.get("splits", {}).values() for name in names}


def _digest(content: Mapping[str, Any]) -> str:
  text = json.dumps(content, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()


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


def _make_true_analysis(
  stage1: SavedStage, devices: Sequence[jax.Device]
) -> Callable[[Iterable[Example]], Iterator[tuple[Mapping[str, Any], Any]]]:
  """Returns a function examples -> (clip, (true motion, z)), run on one device."""
  model = make_autoencoder(stage1.settings.model)
  variables = jax.device_put(stage1.variables, devices[0])
  size = stage1.settings.model.flow_size(stage1.settings.data.frame_size)

  @jax.jit
  def combine(variables, picture, motion, is_body, is_visible):
    z = model.apply(variables, from_uint8(picture)[None], method="encode")[0]
    return Motion(*true_flow(motion, is_body, is_visible, size)), z

  def run(examples):
    for clip, picture in examples:
      frames = clip["frames"]
      # In the coordinates of the flow.
      joints = joints_of(clip["part_pose"]) / ((frames.shape[1] - 1) / 2) - 1
      known = {"joints": joints, "picture_joints": joints[picture]}
      motion = clip_motion(clip, picture)
      yield clip | known, combine(variables, frames[picture], *motion)

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
  """Returns whether a cache of the same identity is finished."""
  path = output / latent_record.MANIFEST
  found = files.read_json(path) if path.exists() else {}
  is_cache = {"schema_version", "autoencoder"} <= found.keys()  # and no export, say
  return is_cache and not _differing(found, identity)


def _differing(found: Mapping[str, Any], identity: Mapping[str, Any]) -> list[str]:
  """Returns the keys with other values; earlier versions did not note all of them."""
  new = {"elsewhere": 0.0, "true_motion": False, "joints": False, "mirrored": False}
  found = new | dict(found)
  return [key for key in identity if key in found and found[key] != identity[key]]


def _begin(
  output: epath.Path, identity: Mapping[str, Any], data: epath.PathLike, same: set[str]
) -> None:
  """Notes what is cached here, unless that has begun.

  Args:
    output: folder of the cache.
    identity: of what is to be cached.
    data: the data set, for the message.
    same: names of the clips that are in the data set and in the cache.

  Raises:
    LatentError: the folder holds something else.
  """
  path = output / "identity.json"
  if path.exists():
    differing = _differing(files.read_json(path), identity)
    if not differing:
      return
    if differing != ["data"] or not same:
      raise LatentError(
        f"{output} caches other latents ({', '.join(differing)} differ); choose another"
        " --output or delete it."
      )
    print(f"{data} has changed; what is new or different in it is made anew.")
  else:
    output.mkdir(parents=True, exist_ok=True)
    if not files.is_remote(output):  # buckets have no folders, and listings may be old
      # Another process may be about to write the same identity.
      begun = (".identity.", LOCK)
      others = {p.name for p in output.iterdir() if not p.name.startswith(begun)}
      if others - {path.name}:
        raise LatentError(f"{output} holds other files; choose an empty folder.")
  files.write_json(path, identity)
