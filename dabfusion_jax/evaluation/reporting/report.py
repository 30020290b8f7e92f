"""The report of an evaluation: one HTML file with videos, tables and provenance."""

import dataclasses
import html
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dabfusion_jax.evaluation.reading import clips
from dabfusion_jax.evaluation.reading.features import Reading
from dabfusion_jax.evaluation.reporting import html_page, protocol
from dabfusion_jax.evaluation.reporting.result import LENGTHS, TITLES, show
from dabfusion_jax.evaluation.scoring.catalog import METRICS, NULLS
from data_pipeline import files
from data_pipeline.errors import UserError

MAX_CLIPS = 8  # shown as videos
_FIRST = ("fvd", "lpips_alex", "psnr_mask", "psnr", "mm_align", "mm_align_flow")
_FIRST += ("av_align", "jitter", "drift", "nearest_training")  # said first, in words
_HISTOGRAMS = ("mm_align", "mm_align_flow", "av_align")


class ReportError(UserError):
  """There is nothing to report on; the message says what to run first."""


def write_report(
  output: pathlib.Path, samples: str | None = None, references: str | None = None
) -> pathlib.Path:
  """Writes OUTPUT/report.html from the result in OUTPUT and the clips it is of.

  `samples` and `references` say where those lie now, if not where they were.

  Raises:
    ReportError: no result there, or one of another version.
  """
  try:
    result = json.loads((output / "result.json").read_text(encoding="utf-8"))
    lines = (output / "scores.jsonl").read_text(encoding="utf-8").splitlines()
  except (OSError, ValueError) as error:
    raise ReportError(
      f"{output} holds no result ({error}); run the evaluation first."
    ) from None
  if result["protocol"].get("definitions") != protocol.DEFINITIONS:
    raise ReportError(f"{output} was measured by another version; evaluate it again.")
  scores = [json.loads(line) for line in lines]
  samples = samples or result["subject"]["samples"]
  references = references or result["subject"]["references"]
  title = f"{result['subject']['label']}: dances beside their nulls"
  parts = [
    _introduction(result),
    "<h2>In words</h2>",
    html_page.bullets(sentences(result["summary"]["all"])),
    "<h2>All clips</h2>",
    summary_table(result["summary"]["all"]),
    "<h2>Alignment of every clip</h2>",
    '<div class="charts">',
    *histograms(result, scores),
    "</div>",
    "<h2>Groups</h2>",
    groups_table(result["summary"]),
    "<h2>Videos</h2>",
    *videos(result, scores, samples, references),
    "<h2>Every clip</h2>",
    clips_table(result, scores),
    "<h2>Failures and gaps</h2>",
    failures(result),
    "<h2>Provenance</h2>",
    html_page.details("Protocol", json.dumps(result["protocol"], indent=2)),
    html_page.details("Subject", json.dumps(result["subject"], indent=2)),
  ]
  path = output / "report.html"
  files.write_text(path, html_page.page(title, parts))
  return path


def _introduction(result: Mapping[str, Any]) -> str:
  p = result["protocol"]
  text = (
    f"{p['num_samples']} clips of {p['num_frames']} frames, {p['width']}x{p['height']}"
    f" pixels, {p['fps']:g} fps; {p['num_references']} real clips,"
    f" {p['num_paired']} of them paired by name. \u00b1 is the standard error over"
    " sequences: cameras that film one dance are one sample. A score says something"
    " only where it differs from its null by more than its noise: the last column."
  )
  if p["lossless"] != dict.fromkeys(p["lossless"], p["lossless"]["samples"]):
    text += (
      " One side was read from coded video and the other without loss: differences as"
      " small as those of the column codec say nothing."
    )
  return f"<p>{html.escape(text)}</p>"


def sentences(rows: Mapping[str, Any]) -> list[str]:
  """What can be said of the metrics that matter most."""
  found = []
  for name in _FIRST:
    row = rows.get(name)
    value = row and row.get("mean", row.get("value"))
    if value is not None:
      text = f"{value:.2f}" if name in LENGTHS else show(row, row["n"])
      found.append(f"{TITLES[name]} {text} (n {row['n']}): {row['words']}.")
  return found


def summary_table(rows: Mapping[str, Any]) -> str:
  """A row for each metric there is, its nulls and the sentence on it."""
  head = ["metric", "value", "n", "real clips", *NULLS.values()]
  head += ["95 % interval", "undefined", "in words"]
  body = []
  for name, row in rows.items():
    if name in LENGTHS:
      body.append(_fvd_cells(name, row))
      continue
    if row["mean"] is None and row["real"]["mean"] is None:
      continue  # said among the gaps
    metric, n = METRICS[name], row["n"]
    title = metric.title + (f" [{metric.unit}]" if metric.unit else "")
    arrow = {"higher": " \u2191", "lower": " \u2193", "": ""}[metric.better]
    cell = lambda one, n=n: (show(one, n), one["mean"])
    nulls = [row["nulls"].get(null) for null in NULLS]
    interval = row["interval"]
    body.append(
      [title + arrow, cell(row), n, cell(row["real"])]
      + [one and cell(one) for one in nulls]
      + ["{:.3g} to {:.3g}".format(*interval) if interval else None]
      + [_undefined(row), row["words"]]
    )
  return html_page.table(head, body)


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


def histograms(
  result: Mapping[str, Any], scores: Sequence[Mapping[str, Any]]
) -> list[str]:
  """Alignment of the clips, with chance, shuffled music and the real clips marked."""
  parts = []
  for metric in _HISTOGRAMS:
    row = result["summary"]["all"].get(metric)
    values = [
      line["value"]
      for line in scores
      if (line["of"], line["metric"]) == ("sample", metric)
      and line["value"] is not None
    ]
    if not values:
      continue
    marks = {"mean": row["mean"]}
    if row["real"]["mean"] is not None:
      marks["real clips"] = row["real"]["mean"]
    for null in ("shuffled", "chance"):
      if row["nulls"].get(null, {}).get("mean") is not None:
        marks[null] = row["nulls"][null]["mean"]
    parts.append(html_page.histogram(METRICS[metric].title, values, marks))
  return parts or ["<p>No clip has an alignment score.</p>"]


def groups_table(summary: Mapping[str, Any]) -> str:
  """A row for each camera, genre, track and situation."""
  names = [
    name
    for name, row in summary["all"].items()
    if row.get("mean", row.get("value")) is not None
  ]
  body = []
  for group, rows in summary.items():
    cells: list[object] = [group, max(row["n"] for row in rows.values())]
    for name in names:
      row = rows.get(name)
      if row is None or name in LENGTHS:
        cells.append(row and row["value"])
      else:
        cells.append((show(row, cells[1]), row["mean"]))
    body.append(cells)
  titles = [TITLES[name] for name in names]
  return html_page.table(["group", "n", *titles], body)


def videos(
  result: Mapping[str, Any],
  scores: Sequence[Mapping[str, Any]],
  samples: str,
  references: str | None,
) -> list[str]:
  """Some clips, evenly over all of them: real, generated, and the nulls."""
  p = result["protocol"]
  size = p["width"] if p["resize"] != "none" else None
  reading = Reading(p["fps_override"], p["cut_to_frames"], size, p["segment_frames"])
  whole = dataclasses.replace(reading, segment_frames=None)
  if p["segment_frames"]:
    whole = dataclasses.replace(whole, num_frames=p["num_frames"])
  ours = clips.find_clips(samples, "samples")
  real = clips.find_clips(references, "references") if references else {}
  known = [clip for clip in result["clips"] if clip["name"] in ours]
  chosen = np.linspace(0, len(known) - 1, min(MAX_CLIPS, len(known))).astype(int)
  read = lambda file: clips.read_clip(file, **vars(reading))
  read_real = lambda file: clips.read_clip(file, **vars(whole))
  parts = []
  for i in chosen:
    name = known[i]["name"]
    sample = read(ours[name])
    reference = read_real(real[name]) if name in real else None
    audio = sample.audio
    if audio is None and reference is not None:
      audio = reference.audio
    shown = {}
    if reference is not None:
      shown["real"] = (reference.frames, audio)
    shown["generated"] = (sample.frames, audio)
    still = (sample if reference is None else reference).frames[:1]
    shown["null: first frame"] = (np.repeat(still, len(sample.frames), 0), audio)
    other = next(
      (c for c in known[i:] + known if c["track"] != known[i]["track"]), None
    )
    if other is not None:
      sound = read(ours[other["name"]]).audio
      if sound is None and other["name"] in real:
        sound = read_real(real[other["name"]]).audio
      if sound is not None:
        caption = (
          f"null: generated, with the music of {other['track'] or other['name']}"
        )
        shown[caption] = (sample.frames, sound)
    encoded = {
      caption: clips.encode_mp4(frames, sample.fps, sound)
      for caption, (frames, sound) in shown.items()
    }
    parts.append(html_page.clip(name, _scores_of(name, scores), encoded))
  return parts


def _scores_of(name: str, scores: Sequence[Mapping[str, Any]]) -> str:
  wanted = ("psnr", "lpips_alex", *_HISTOGRAMS)
  found = [
    f"{METRICS[line['metric']].title} {line['value']:.3g}"
    for line in scores
    if line["clip"] == name
    and line["of"] == "sample"
    and line["metric"] in wanted
    and line["value"] is not None
  ]
  return "; ".join(found)


def clips_table(result: Mapping[str, Any], scores: Sequence[Mapping[str, Any]]) -> str:
  """A row for each clip, its scores or why there is none."""
  table: dict[str, dict[str, object]] = {}
  defined: dict[str, None] = {}
  for line in scores:
    if line["of"] == "sample":
      value = line["value"]
      cell = (line["reason"] or "", None) if value is None else value
      table.setdefault(line["clip"], {})[line["metric"]] = cell
      if value is not None:
        defined[line["metric"]] = None
  body = [
    [clip["name"], *(table.get(clip["name"], {}).get(metric) for metric in defined)]
    for clip in result["clips"]
  ]
  return html_page.table(["clip", *(METRICS[name].title for name in defined)], body)


def failures(result: Mapping[str, Any]) -> str:
  """Clips that could not be read, and weights that are not there."""
  lines = [
    f"{part}: {message}"
    for part, found in result["failures"].items()
    for message in found.values()
  ]
  lines += list(result["missing_weights"].values())
  for name, row in result["summary"]["all"].items():
    if row["words"].startswith("not computed"):
      lines.append(f"{TITLES[name]}: {row['words']}")
  return html_page.bullets(lines) if lines else "<p>None.</p>"
