"""Writes the report of an evaluation: one HTML file with videos, tables, provenance."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from dabfusion_jax.evaluation.reading import clip_files, clips, coding
from dabfusion_jax.evaluation.reading.features import Reading
from dabfusion_jax.evaluation.reporting import chart, html, protocol
from dabfusion_jax.evaluation.reporting.protocol import ProtocolError
from dabfusion_jax.evaluation.reporting.result import (
  RESULT,
  SCORES,
  Result,
  fvd_text,
  gaps,
  is_computed,
  mean_text,
  read_result,
)
from dabfusion_jax.evaluation.scoring.catalog import FVD_LENGTHS, METRICS, NULLS, TITLES
from data_pipeline import files
from data_pipeline.records.picks import even_indices

REPORT = "report.html"
MAX_CLIPS = 8  # shown as videos
# The first lines of the report, in words.
_FIRST = ("fvd", "lpips_alex", "psnr_mask", "psnr", "mm_align", "beat_alignment")
_FIRST += ("av_align", "jitter", "drift", "nearest_training", "stage1_psnr_mask")
_HISTOGRAMS = ("mm_align", "beat_alignment", "av_align")
_BELOW_VIDEOS = ("psnr", "lpips_alex", *_HISTOGRAMS)

ScoreLine = Mapping[str, Any]  # of scores.jsonl


def write_report(
  output: pathlib.Path, samples: str | None = None, references: str | None = None
) -> pathlib.Path:
  """Writes report.html from a result and its clips.

  Args:
    output: folder of the result and of the report.
    samples: folder of the clips; if None, the one that was evaluated.
    references: the same for real clips.

  Returns:
    The path of the report.

  Raises:
    ProtocolError: there is no result, or one of an earlier version.
  """
  result = read_result(output / RESULT)
  try:
    lines = (output / SCORES).read_text(encoding="utf-8").splitlines()
  except OSError as error:
    raise ProtocolError(f"{output} has no scores ({error}); evaluate again.") from None
  scores = [json.loads(line) for line in lines]
  samples = samples or result["subject"]["samples"]
  references = references or result["subject"]["references"]
  all_clips = result["summary"]["all"]
  pieces = [
    _introduction(result),
    "<h2>In words</h2>",
    html.bullets(sentences(all_clips)),
    "<h2>All clips</h2>",
    summary_table(all_clips),
    "<h2>Alignment of every clip</h2>",
    '<div class="charts">',
    *_histograms(all_clips, scores),
    "</div>",
    "<h2>Groups</h2>",
    _groups_table(result["summary"]),
    "<h2>Videos</h2>",
    *_videos(result, scores, samples, references),
    "<h2>Every clip</h2>",
    _clips_table(result, scores),
    "<h2>Failures and gaps</h2>",
    html.bullets([*gaps(result), *result["missing_weights"].values()]),
    "<h2>Provenance</h2>",
    html.details("Protocol", json.dumps(result["protocol"], indent=2)),
    html.details("Subject", json.dumps(result["subject"], indent=2)),
  ]
  title = f"{result['subject']['label']}: dances beside their nulls"
  files.write_text(output / REPORT, html.page(title, pieces))
  return output / REPORT


def _introduction(result: Result) -> str:
  p = result["protocol"]
  text = (
    f"{p['num_samples']} clips of {p['num_frames']} frames, {p['width']}x{p['height']}"
    f" pixels, {p['fps']:g} fps; {p['num_references']} real clips,"
    f" {p['num_paired']} of them paired by name. \u00b1 is the standard error over"
    " sequences: cameras that film one dance are one sample. A score is meaningful only"
    " if it differs from its null by more than its noise: see the last column."
  )
  if len(set(p["lossless"].values())) > 1:
    text += (
      " One side was read from coded video and the other without loss, so differences"
      " as small as those of the column for coding mean nothing."
    )
  return f"<p>{escape(text)}</p>"


def sentences(rows: Mapping[str, Any]) -> list[str]:
  """Returns a sentence on each of the metrics that matter most."""
  lines = []
  for name in _FIRST:
    row = rows.get(name)
    value = row and row.get("mean", row.get("value"))
    if value is not None:
      text = f"{value:.2f}" if name in FVD_LENGTHS else mean_text(row, row["n"])
      lines.append(f"{TITLES[name]} {text} (n {row['n']}): {row['words']}.")
  return lines


def summary_table(rows: Mapping[str, Any]) -> str:
  """Returns a table with a row per metric: value, nulls, and a sentence."""
  head = ["metric", "value", "n", "real clips", *NULLS.values()]
  head += ["95 % interval", "undefined", "in words"]
  body = []
  for name, row in rows.items():
    if name in FVD_LENGTHS:
      body.append(_fvd_cells(name, row))
      continue
    if not is_computed(row):
      continue  # listed among the gaps
    metric, n = METRICS[name], row["n"]
    arrow = {"higher": " \u2191", "lower": " \u2193", "": ""}[metric.better]
    cell = lambda row, n=n: (mean_text(row, n), row["mean"])
    nulls = [row["nulls"].get(null) for null in NULLS]
    interval = row["interval"]
    body.append(
      [metric.title_with_unit + arrow, cell(row), n, cell(row["real"])]
      + [null and cell(null) for null in nulls]
      + ["{:.3g} to {:.3g}".format(*interval) if interval else None]
      + [_undefined(row), row["words"]]
    )
  return html.table(head, body)


def _undefined(row: Mapping[str, Any]) -> tuple[str, int]:
  reasons = row["reasons"].items()
  return ", ".join(f"{n} {reason}" for reason, n in reasons) or "0", row["n_undefined"]


def _fvd_cells(name: str, row: Mapping[str, Any]) -> list[object]:
  half = row["real_half"]
  real = f"{half['mean']:.4g} at n {half['n']}" if half else None
  value = None if row["value"] is None else float(row["value"])
  nulls = [row["nulls"].get(null) for null in NULLS]
  title = f"{TITLES[name]} \u2193"
  return [title, value, row["n"], real, *nulls, None, _undefined(row), row["words"]]


def _histograms(rows: Mapping[str, Any], scores: Sequence[ScoreLine]) -> list[str]:
  """Draws alignment of the clips; marks chance, shuffled music and the real clips."""
  figures = []
  for metric in _HISTOGRAMS:
    values = [
      line["value"]
      for line in scores
      if (line["of"], line["metric"]) == ("sample", metric)
      and line["value"] is not None
    ]
    if not values:
      continue
    row = rows[metric]
    marked = {"mean": row, "real clips": row["real"]}
    marked |= {null: row["nulls"].get(null) for null in ("shuffled", "chance")}
    marks = {
      name: row["mean"]
      for name, row in marked.items()
      if row and row["mean"] is not None
    }
    svg = chart.histogram(TITLES[metric], values, marks)
    figures.append(html.figure(TITLES[metric], svg))
  return figures or ["<p>No clip has an alignment score.</p>"]


def _groups_table(summary: Mapping[str, Any]) -> str:
  """Returns a table with a row per camera, genre, track and situation."""
  names = [
    name
    for name, row in summary["all"].items()
    if row.get("mean", row.get("value")) is not None
  ]
  body = []
  for group, rows in summary.items():
    n = max(row["n"] for row in rows.values())
    cells: list[object] = [group, n]
    for name in names:
      row = rows.get(name)
      if row is None:
        cells.append(None)
      elif name in FVD_LENGTHS:
        cells.append((fvd_text(row, n), row["value"]))
      else:
        cells.append((mean_text(row, n), row["mean"]))
    body.append(cells)
  return html.table(["group", "n", *(TITLES[name] for name in names)], body)


def _videos(
  result: Result, scores: Sequence[ScoreLine], samples: str, references: str | None
) -> list[str]:
  """Shows some clips, evenly spaced over all of them, beside real ones and nulls."""
  p = result["protocol"]
  size = p["width"] if p["resize"] != "none" else None
  reading = Reading(p["fps_override"], p["cut_to_frames"], size, p["segment_frames"])
  whole = dataclasses.replace(reading, segment_frames=None)
  if p["segment_frames"]:
    whole = dataclasses.replace(whole, num_frames=p["num_frames"])
  sample_files = clip_files.find_clips(samples, "samples")
  real_files = clip_files.find_clips(references, "references") if references else {}
  measured = {clip["name"]: sample_files.get(clip["name"]) for clip in result["clips"]}
  _check_same_files(samples, measured, result["subject"]["samples_hash"])
  if references and p["references_hash"]:
    unread = result["failures"]["references"]
    measured = {n: file for n, file in real_files.items() if n not in unread}
    _check_same_files(references, measured, p["references_hash"])

  def read(name: str) -> tuple[clips.Clip, clips.Clip | None]:
    sample = clips.read_clip(sample_files[name], **vars(reading))
    if name not in real_files:
      return sample, None
    real = clips.read_clip(real_files[name], **vars(whole))
    if sample.audio is None:
      sample = dataclasses.replace(sample, audio=real.audio)
    return sample, real

  pieces = []
  known = result["clips"]
  for i in even_indices(len(known), MAX_CLIPS):
    name, track = known[i]["name"], known[i]["track"]
    sample, real = read(name)
    shown = {} if real is None else {"real": real.frames}
    shown["generated"] = sample.frames
    shown["null: first frame"] = clips.hold_first((real or sample).frames)
    videos = {
      caption: coding.encode_mp4(frames, sample.fps, sample.audio)
      for caption, frames in shown.items()
    }
    other = next((c for c in known[i:] + known if c["track"] != track), None)
    audio = other and read(other["name"])[0].audio
    if audio is not None:
      music = other["track"] or other["name"]
      caption = f"null: generated, with the music of {music}"
      videos[caption] = coding.encode_mp4(sample.frames, sample.fps, audio)
    text = "; ".join(
      f"{TITLES[line['metric']]} {line['value']:.3g}"
      for line in scores
      if (line["clip"], line["of"]) == (name, "sample")
      and line["metric"] in _BELOW_VIDEOS
      and line["value"] is not None
    )
    pieces.append(html.clip(name, text, videos))
  return pieces


def _check_same_files(
  folder: str, found: Mapping[str, clip_files.ClipFile | None], expected: str
) -> None:
  digests = (f"{name} {file and file.digest}" for name, file in found.items())
  if protocol.list_hash(digests) != expected:
    raise clips.ClipError(
      f"{folder} does not hold the clips that were measured: evaluate them again, or"
      " name the folder of those with --samples or --references."
    )


def _clips_table(result: Result, scores: Sequence[ScoreLine]) -> str:
  """Returns a table with a row per clip: its scores, or why there is none."""
  cells: dict[str, dict[str, object]] = {}
  metrics: dict[str, None] = {}  # those that any clip has
  for line in scores:
    if line["of"] == "sample":
      value = line["value"]
      cell = (line["reason"] or "", None) if value is None else value
      cells.setdefault(line["clip"], {})[line["metric"]] = cell
      if value is not None:
        metrics[line["metric"]] = None
  body = [
    [clip["name"], *(cells.get(clip["name"], {}).get(metric) for metric in metrics)]
    for clip in result["clips"]
  ]
  return html.table(["clip", *(TITLES[name] for name in metrics)], body)
