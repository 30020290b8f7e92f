"""Writes the tables of the paper, with its published figures beside our results.

Results in one table must have been measured alike. Only what a table is about may
differ, such as the length of the clips in Tables 5 and 7.
"""

import csv
import dataclasses
import functools
import io
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from dabfusion_jax.evaluation.reporting import markdown, protocol, published
from dabfusion_jax.evaluation.reporting.result import (
  RESULT,
  Result,
  fvd_text,
  mean_text,
  read_result,
)
from dabfusion_jax.evaluation.scoring.catalog import PAIRED, TITLES
from data_pipeline import files

Row = Mapping[str, Any]
Summary = Mapping[str, Row]  # by metric

# What follows from the length of a clip, besides the length itself.
_LENGTH = ("num_frames", "cut_to_frames", "references_hash", "num_references")
_LENGTH += ("num_samples", "num_paired", "beats", "names_hash", "paired_hash")
_LENGTH += ("segment_frames",)
_CAUTION = """Rows `paper` are of AIST++ film and the paper's code, rows `ours` are of
the clips that the results name: figures of different clips cannot be compared. Compare
each figure with the rows `null` and `GT` beside it.
"""
_REAL = "GT"  # as the paper calls real clips
_NULLS = ("frozen", "shuffled", "chance", "codec")


@dataclasses.dataclass(frozen=True)
class Table:
  """A table of the paper.

  Attributes:
    number: in the paper.
    title: what it compares.
    columns: metrics of `catalog`.
    figures: published ones, by (model, value of `by`) and column.
    by: what the rows differ in besides the model; "" if nothing.
    may_differ: settings of the protocol that may differ between results.
    shows_real: whether the paper gives a row `GT` of real clips.
  """

  number: int
  title: str
  columns: tuple[str, ...]
  figures: Mapping[tuple[str, ...], Mapping[str, float]]
  by: str = ""
  may_differ: tuple[str, ...] = ()
  shows_real: bool = False


_VIDEO = ("fvd", "lpips_alex", "psnr", "ssim")
_MUSIC = ("clip_score", "mm_align", "beat_alignment", "av_align")
_BOTH = (*_MUSIC, "fvd")
TABLES = (
  Table(1, "Quality of the video", _VIDEO, published.TABLE_1),
  Table(2, "Quality by camera", _VIDEO, published.TABLE_2, "camera"),
  Table(3, "Alignment with the music", _MUSIC, published.TABLE_3, shows_real=True),
  Table(4, "Alignment by genre", _MUSIC, published.TABLE_4, "genre", shows_real=True),
  Table(
    5,
    "Models trained on clips of different length",
    _BOTH,
    published.TABLE_5,
    "trained_frames",
    _LENGTH,
  ),
  Table(6, "Embedding of music or of text", _BOTH, published.TABLE_6, "embedding"),
  Table(7, "Long videos", _BOTH, published.TABLE_7, "num_frames", _LENGTH),
)


def read_results(paths: Sequence[str]) -> list[tuple[str, Result]]:
  """Reads results; a folder stands for its result.json.

  Returns:
    (path, result) of each.

  Raises:
    ProtocolError: a file is no result, or one of an earlier version.
  """
  results = []
  for path in map(pathlib.Path, paths):
    path = path / RESULT if path.is_dir() else path
    results.append((str(path), read_result(path)))
  return results


def make_rows(table: Table, results: Sequence[tuple[str, Result]]) -> list[list[str]]:
  """Returns the table as text: its head, the paper's rows, ours with their nulls.

  Raises:
    ProtocolError: two results were measured differently.
  """
  for name, result in results[1:]:
    first_name, first = results[0]
    names = first_name, name
    protocol.check_same(first["protocol"], result["protocol"], names, table.may_differ)
  by = [table.by] if table.by else []
  head = ["source", "model", *by, "n", *(TITLES[column] for column in table.columns)]
  rows = [head]
  for key, figures in table.figures.items():
    cells = [_printed(figures[c]) if c in figures else "" for c in table.columns]
    rows.append(["paper", *key, "", *cells])
  done = set()
  for _, result in results:
    for value, summary in _groups(table, result):
      key = (value,) if table.by else ()
      with_real = table.shows_real and value not in done
      own = _own_rows(table, key, summary, result, with_real)
      if own[0][1] == _REAL:
        done.add(value)
      rows += own
  return rows


def _own_rows(
  table: Table,
  key: tuple[str, ...],
  summary: Summary,
  result: Result,
  with_real: bool,
) -> list[list[str]]:
  """Returns the rows of one result: real clips, the model, and its nulls."""
  n = max((summary[c]["n"] for c in table.columns if c in summary), default=0)

  def make_row(source: str, model: str, cell: Callable[..., str]) -> list[str]:
    cells = [cell(column, summary.get(column), n=n) for column in table.columns]
    return [source, model, *key, str(n), *cells]

  rows = [make_row("ours", _REAL, _real)] if with_real else []
  value = functools.partial(_value, groups=result["protocol"]["groups"])
  rows.append(make_row("ours", result["subject"]["label"], value))
  for null in _NULLS:
    rows.append(make_row("null", null, functools.partial(_null, null=null)))
  return [row for row in rows if any(row[-len(table.columns) :])]


def _groups(table: Table, result: Result) -> Iterator[tuple[str, Summary]]:
  """Yields (value of `by`, rows by metric) for what a result adds to the table."""
  if table.by in ("camera", "genre"):
    for group, summary in result["summary"].items():
      key, _, value = group.partition("=")
      if key == table.by and value in {k[1] for k in table.figures}:
        yield value, summary
    return
  value = {
    "": "",
    "embedding": result["subject"].get("embedding"),
    "trained_frames": result["subject"].get("trained_frames"),
    "num_frames": result["protocol"]["num_frames"],
  }[table.by]
  yield str(value if value is not None else "unknown"), result["summary"]["all"]


def _printed(figure: float) -> str:
  """Returns a figure with the digits it has in the paper: 0.040, 26.30, 25.031."""
  usual = f"{figure:.2f}" if figure >= 10 else f"{figure:.3f}"
  return usual if float(usual) == figure else str(figure)


def _value(column: str, row: Row | None, n: int, groups: Sequence[str]) -> str:
  if row is None:
    lacks_real = column in PAIRED and "paired" in groups
    return "not computed (no real clips)" if lacks_real else "not asked"
  if column == "fvd":
    return fvd_text(row, n)
  if row["mean"] is None:
    if "not_asked" in row["reasons"]:
      return "not asked"
    is_missing = "no_weights" in row["reasons"]
    return "not computed (no weights)" if is_missing else "undefined"
  return mean_text(row, n)


def _real(column: str, row: Row | None, n: int) -> str:
  real = row and row.get("real")
  return mean_text(real, n) if real and real["mean"] is not None else ""


def _null(column: str, row: Row | None, n: int, null: str) -> str:
  value = row and row["nulls"].get(null)
  if value is None or row.get("mean", row.get("value")) is None:
    return ""
  return f"{value:.2f}" if column == "fvd" else mean_text(value, n)


def write_tables(
  folder: pathlib.Path, results: Sequence[tuple[str, Result]]
) -> tuple[str, list[pathlib.Path]]:
  """Writes tables.md and tableN.csv; returns the markdown and all paths.

  A table whose results were measured differently is refused. The others are written,
  and the reason stands in the text; a csv of it from before is removed.

  Raises:
    ProtocolError: all tables are refused.
  """
  folder.mkdir(parents=True, exist_ok=True)
  texts, refusals = [_CAUTION], []
  content = {}
  for table in TABLES:
    title = f"### Table {table.number}: {table.title}\n\n"
    try:
      head, *body = make_rows(table, results)
    except protocol.ProtocolError as error:
      refusals.append(error)
      texts.append(f"{title}refused: {error}\n")
      continue
    texts.append(title + markdown.table(head, body))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([head, *body])
    content[f"table{table.number}.csv"] = text.getvalue()
  if len(refusals) == len(TABLES):
    raise refusals[0]
  content["tables.md"] = "\n".join(texts)
  for table in TABLES:  # none of other results beside a refused one
    if f"table{table.number}.csv" not in content:
      (folder / f"table{table.number}.csv").unlink(missing_ok=True)
  for name, text in content.items():
    files.write_text(folder / name, text)
  return content["tables.md"], [folder / name for name in content]
