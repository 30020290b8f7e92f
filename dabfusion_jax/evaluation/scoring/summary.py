"""Summarises measured clips by group: a row of plain values per metric."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32

from dabfusion_jax.evaluation.reading.changes import CODED, FROZEN
from dabfusion_jax.evaluation.reading.clip_sets import ClipSet
from dabfusion_jax.evaluation.reading.features import (
  NUM_LOGITS,
  ClipFeatures,
  i3d_logits,
)
from dabfusion_jax.evaluation.reading.labels import parse_labels
from dabfusion_jax.evaluation.reading.networks import Networks
from dabfusion_jax.evaluation.scoring import aggregate
from dabfusion_jax.evaluation.scoring.catalog import FVD_LENGTHS, METRICS, NULLS, Metric
from dabfusion_jax.evaluation.scoring.fvd import fvd_row, not_computed
from dabfusion_jax.evaluation.scoring.measure import Measured, Settings
from dabfusion_jax.metrics.alignment import Score
from dabfusion_jax.metrics.features import i3d

SPLIT_BY = ("genre", "camera", "track", "situation")

Row = dict[str, Any]
# I3D logits by kind ("sample", "real", "frozen", "codec") and name of the clip. Clips
# that are too short have none, or of another length if FVD is that of whole clips.
Logits = dict[str, dict[str, Float32[np.ndarray, "400"]]]


def summarise_groups(
  measured: Measured,
  references: ClipSet | None,
  logits: Mapping[str, Logits | str],
  settings: Settings,
) -> dict[str, dict[str, Row]]:
  """Returns rows by metric for all clips, and by genre, camera, track and situation.

  See `aggregate.summarise` and `fvd.fvd_row` for what a row holds.

  Args:
    measured: scores of all clips.
    references: all real clips, which FVD compares with.
    logits: of each kind of FVD, or the reason why there are none.
    settings: of the evaluation.
  """
  members: dict[str, list[int]] = {"all": list(range(len(measured.names)))}
  for key in SPLIT_BY:
    for i, labels in enumerate(measured.labels):
      if getattr(labels, key):
        members.setdefault(f"{key}={getattr(labels, key)}", []).append(i)
  real_names = sorted(references.features) if references else []
  summary = {}
  for group, indices in members.items():
    summary[group] = {
      name: _metric_row(measured, name, indices, settings)
      for name in measured.metrics()
    }
    key, _, value = group.partition("=")
    is_member = lambda name, key=key, value=value: (
      not value or getattr(parse_labels(name), key) == value
    )
    names = [measured.names[i] for i in indices]
    real = list(filter(is_member, real_names))
    for name, kinds in logits.items():
      summary[group][name] = _fvd_row(kinds, names, real, settings.seed)
  return summary


def _metric_row(
  measured: Measured, name: str, indices: Sequence[int], settings: Settings
) -> Row:
  sequences = [measured.labels[i].sequence for i in indices]
  tracks = [measured.labels[i].track for i in indices]
  columns = {}
  for kind in ("sample", "real", *NULLS):
    column = measured.column(kind, name)
    columns[kind] = [column[i] for i in indices] if column else []
  rows = {
    kind: aggregate.summarise(column, sequences, tracks, settings.seed)
    for kind, column in columns.items()
  }
  nulls = {kind: rows[kind] for kind in NULLS if rows[kind]["n"]}
  if "shuffled" in nulls:
    nulls["shuffled"]["sd_of_draws"] = measured.shuffled_sd(name, indices)
  draws = len(measured.draws[name]) if name in measured.draws else 1
  words = _words(METRICS[name], columns, sequences, nulls, draws)
  return rows["sample"] | {"real": rows["real"], "nulls": nulls, "words": words}


def _words(
  metric: Metric,
  columns: Mapping[str, Sequence[Score]],
  sequences: Sequence[str],
  nulls: Mapping[str, Row],
  num_draws: int,
) -> str:
  """Returns a sentence: the metric against its null, or against the real clips.

  A null of shuffled music is the mean of `num_draws` draws.
  """
  own, real = columns["sample"], columns["real"]
  has_real = any(score.value is not None for score in real)
  if all(score.value is None for score in own):
    what = "known for the real clips only" if has_real else "not computed"
    reasons = sorted({score.reason or "" for score in own})
    return f"{what} ({', '.join(reasons)})"
  if metric.null:
    if not columns[metric.null]:
      return "no null: the clips differ in length, or more than half have one track"
    title = {"frozen": "the frozen first frame", "shuffled": "shuffled music"}
    gap = aggregate.difference(own, columns[metric.null], sequences)
    of_draw = nulls.get(metric.null, {}).get("sd_of_draws") or 0.0
    extra_error = of_draw / math.sqrt(num_draws)
    return aggregate.in_words(gap, title[metric.null], metric.better, extra_error)
  if not has_real:
    return "no real clips to compare with"
  gap = aggregate.difference(own, real, sequences)
  return aggregate.in_words(gap, "the real clips", metric.better)


def _fvd_row(
  logits: Logits | str, names: Sequence[str], real_names: Sequence[str], seed: int
) -> Row:
  """Returns the row of one FVD, of clips by name."""
  if isinstance(logits, str):
    reasons = {logits: len(names)}
    return not_computed(logits) | {"n_undefined": len(names), "reasons": reasons}

  def known(kind, names):
    """Returns logits [n, 400] and sequences of the clips that have logits."""
    known_names = [name for name in names if name in logits[kind]]
    rows = np.array([logits[kind][name] for name in known_names], np.float32)
    sequences = [parse_labels(name).sequence for name in known_names]
    return rows.reshape(-1, NUM_LOGITS), sequences

  samples, sequences = known("sample", names)
  real, real_sequences = known("real", real_names)
  nulls = {k: known(k, real_names)[0] for k in ("frozen", "codec") if k in logits}
  row = fvd_row(samples, real, sequences, real_sequences, nulls, seed)
  if (num_left := len(real_names) - row["n_real"]) > 0:
    row["words"] += f"; {num_left} real clips are left out for their length"
  row["n_undefined"] = len(names) - row["n"]
  row["reasons"] = {"length_differs": row["n_undefined"]} if row["n_undefined"] else {}
  return row


def all_logits(
  samples: ClipSet,
  references: ClipSet | None,
  settings: Settings,
  networks: Networks,
  num_frames: int,
) -> dict[str, Logits | str]:
  """Returns I3D logits for each FVD that is asked for, or why there are none.

  Args:
    samples: generated clips.
    references: real clips.
    settings: of the evaluation.
    networks: among them I3D, if its weights are there.
    num_frames: of the clips; others have no logits for an FVD of whole clips.
  """
  logits: dict[str, Logits | str] = {}
  for name, fixed in FVD_LENGTHS.items():
    if name not in settings.groups:
      continue
    length = fixed or num_frames
    if references is None:
      logits[name] = "no_references"
    elif "i3d" not in networks:
      logits[name] = "no_weights"
    elif num_frames < max(length, i3d.MIN_FRAMES):
      logits[name] = "too_short"
    else:
      real = references.features
      kinds = {"sample": samples.features, "real": real}
      kinds["frozen"] = {key: clip.changed(FROZEN) for key, clip in real.items()}
      if "codec" in settings.groups and references.is_lossless:
        kinds["codec"] = {key: clip.changed(CODED) for key, clip in real.items()}
      logits[name] = {
        kind: _logits_of(clips, settings.resize, networks, length, fixed is not None)
        for kind, clips in kinds.items()
      }
  return logits


def _logits_of(
  clips: Mapping[str, ClipFeatures],
  resize: str,
  networks: Networks,
  length: int,
  may_be_longer: bool,
) -> dict[str, Float32[np.ndarray, "400"]]:
  frames = {name: int(clips[name].info["shape"][0]) for name in sorted(clips)}
  names = [n for n, t in frames.items() if t == length or t > length and may_be_longer]
  rows = i3d_logits([clips[name] for name in names], networks, length, resize)
  return dict(zip(names, rows, strict=True))
