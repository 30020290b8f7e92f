"""Evaluates folders of clips: opens what is needed, measures, writes the result."""

import dataclasses
import pathlib
import sys
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

from dabfusion_jax.evaluation.reading.cache import FeatureCache, Key
from dabfusion_jax.evaluation.reading.changes import Change
from dabfusion_jax.evaluation.reading.clip_files import find_paths, read_manifest
from dabfusion_jax.evaluation.reading.clip_sets import (
  ClipSet,
  common_shape,
  open_clip_set,
)
from dabfusion_jax.evaluation.reading.networks import open_networks
from dabfusion_jax.evaluation.reading.poses import PoseFiles, PoseSource
from dabfusion_jax.evaluation.reporting import protocol
from dabfusion_jax.evaluation.reporting.result import (
  as_text,
  evaluate,
  read_features,
  score_lines,
  write_result,
)
from dabfusion_jax.evaluation.scoring.catalog import NETWORKS
from dabfusion_jax.evaluation.scoring.measure import Extras, Settings
from dabfusion_jax.metrics import appearance
from dabfusion_jax.parallel.share import ALONE, Share
from dabfusion_jax.pretrained import store
from data_pipeline.errors import UserError
from data_pipeline.extras import needs_extra
from data_pipeline.records import loader

PathLike = str | pathlib.Path


@dataclasses.dataclass(frozen=True)
class Folders:
  """What an evaluation reads and writes.

  Attributes:
    samples: export or folder of generated clips.
    references: export or folder of real ones; None: only what needs none is measured.
    output: of the result.
    cache: of features; `cache` in the output if None.
    poses: folders of pose files; if empty, BlazePose finds them if it is imported.
    training: data set that the model was trained on.
  """

  samples: PathLike
  references: PathLike | None
  output: pathlib.Path
  cache: PathLike | None = None
  poses: Sequence[PathLike] = ()
  training: PathLike | None = None


def evaluate_folders(
  folders: Folders,
  settings: Settings,
  *,
  label: str | None = None,
  command: str = "",
  stage1: Change | None = None,
  own: Share = ALONE,
) -> pathlib.Path | None:
  """Evaluates clips, prints the summary and writes the result.

  If several processes share the work, each puts the features of its clips into the
  cache. The first of processes that are joined then waits for the others, and writes
  the result; processes that are not joined leave that to one that does not share.

  Args:
    folders: what is read and written.
    settings: what is measured and how.
    label: name of the system; by default that of the export, or of the folder.
    command: that was given, for the record.
    stage1: rebuilds real clips from their own motion; None: that is not measured.
    own: this process's share.

  Returns:
    The path of result.json, or None if this process does not write it.

  Raises:
    UserError: a folder cannot be used, or clips do not fit together.
  """
  cache_folder = pathlib.Path(folders.cache or folders.output / "cache")
  for folder in filter(None, (folders.samples, folders.references)):
    if cache_folder.resolve().is_relative_to(pathlib.Path(folder).resolve()):
      raise UserError(
        f"{cache_folder} lies inside the folder of clips {folder}, so that features"
        " would be read as clips; choose another --output."
      )
  wanted = {name for group in settings.groups for name in NETWORKS.get(group, ())}
  networks = open_networks(tuple(sorted(wanted)))
  for line in networks.missing.values():
    print(f"evaluate: not computed: {line}", file=sys.stderr)
  cache = FeatureCache(cache_folder)
  poses = _open_poses(folders.poses) if "pose" in settings.groups else None
  extras = Extras(networks, poses, stage1=stage1)
  if own.count > 1:
    names = own.of(_names(folders))
    clip_sets = _open(folders, settings, cache, names)
    read_features(*clip_sets, settings, extras)
    print(f"{cache_folder}: features of {len(names)} clips, {own}")
    own.wait("features")
    if not (own.is_joined and own.is_first):
      return None
  samples, references = _open(folders, settings, cache)
  manifest = read_manifest(pathlib.Path(folders.samples))
  _note_unfinished(samples, manifest)
  if folders.training:
    *_, fps = common_shape({"samples": samples})
    training, digest = _read_training(folders.training, fps, cache)
    extras = dataclasses.replace(extras, training=training, training_digest=digest)
  result, measured = evaluate(samples, references, settings, extras)
  subject = {
    "label": label
    or manifest.get("label")
    or pathlib.Path(folders.samples).resolve().name,
    "embedding": manifest.get("embedding"),
    "trained_frames": manifest.get("trained_frames"),
    "samples": str(folders.samples),
    "samples_hash": protocol.list_hash(
      f"{name} {clip.digest}" for name, clip in samples.features.items()
    ),
    "references": folders.references and str(folders.references),
    "manifest": manifest,
    "command": command,
  }
  result = {"subject": subject} | result
  print(as_text(result))
  return write_result(folders.output, result, score_lines(measured))


def _names(folders: Folders) -> list[str]:
  """Returns the names of all clips, generated or real, sorted."""
  names = set(find_paths(folders.samples, "samples"))
  if folders.references:
    names |= set(find_paths(folders.references, "references"))
  return sorted(names)


def _open(
  folders: Folders,
  settings: Settings,
  cache: FeatureCache,
  names: Collection[str] | None = None,
) -> tuple[ClipSet, ClipSet | None]:
  """Returns the generated and the real clips; see `open_clip_set`."""
  reading = settings.reading
  samples = open_clip_set(folders.samples, "samples", reading, cache, names)
  if not folders.references:
    return samples, None
  whole = dataclasses.replace(reading, segment_frames=None)
  if reading.segment_frames and not reading.num_frames and samples.features:
    # Real clips have no repeated frames: they are cut to what is left of the samples.
    length, *_ = common_shape({"samples": samples})
    whole = dataclasses.replace(whole, num_frames=length)
  return samples, open_clip_set(folders.references, "references", whole, cache, names)


def _note_unfinished(samples: ClipSet, manifest: dict[str, Any]) -> None:
  """Adds to the failures that an export lacks clips, if it does."""
  expected = manifest.get("num_clips", 0)
  count = len(samples.features) + len(samples.failures)
  if count < expected:
    samples.failures["manifest.json"] = (
      f"the export is not finished, it has {count} of {expected} clips: run it again."
    )


def _open_poses(folders: Sequence[str]) -> PoseSource | None:
  """Returns pose files if given, else BlazePose if its weights are imported.

  Raises:
    UserError: the extra `eval` is not installed.
  """
  if folders:
    return PoseFiles(*folders)
  with needs_extra("eval"):
    from dabfusion_jax.evaluation.reading.blazepose import BlazePose
  try:
    return BlazePose()
  except store.MissingWeightsError as error:
    print(f"evaluate: no poses: {error}", file=sys.stderr)
    return None


def _read_training(
  data: str, fps: float, cache: FeatureCache
) -> tuple[UInt8[np.ndarray, "n t 16 16 3"], str]:
  """Returns thumbnails of the training clips, and the digest of their data set.

  Raises:
    RecordError: there is no such data set, or its frame rate is not `fps`.
  """
  expect = {"fps": fps}
  source = loader.open_clips(data, "train", expect=expect, fields=("frames",))
  digest = source.manifest["content_sha256"]

  def compute():
    thumbnails = [appearance.thumbnails(clip["frames"]) for clip in source]
    return {"thumbnails": np.stack(thumbnails)}

  value = cache.get("training", Key([digest], {"split": "train"}), compute)
  return value["thumbnails"], digest
