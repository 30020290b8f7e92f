"""The tables of the paper, its figures beside those of our results.

Results in one table must have been measured alike: only what a table is about (the
length of the clips in Tables 5 and 7) may differ.
"""

import csv
import dataclasses
import io
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from dabfusion_jax.evaluation.reporting import protocol, published
from dabfusion_jax.evaluation.scoring.catalog import METRICS
from data_pipeline import files

Result = Mapping[str, Any]
# What follows from the length of a clip, besides the length itself.
_LENGTH = ("num_frames", "cut_to_frames", "references_hash", "num_references")
_LENGTH += ("num_samples", "num_paired", "beats")
_CAUTION = """Rows `paper` are of AIST++ film and the paper's own code, `ours` of the
clips that the results name: figures of other clips cannot be compared. Hold each
against the rows `null` and `GT` beside it.
"""
_TITLES = {"fvd": "FVD"} | {name: metric.title for name, metric in METRICS.items()}


@dataclasses.dataclass(frozen=True)
class Table:
  """A table of the paper: its rows are (model, value of `by`)."""

  number: int
  title: str
  columns: tuple[str, ...]
  figures: Mapping[tuple[str, ...], Mapping[str, float]]
  by: str = ""
  may_differ: tuple[str, ...] = ()


_VIDEO = ("fvd", "lpips_alex", "psnr", "ssim")
_MUSIC = ("clip_score", "mm_align", "mm_align_flow", "av_align")
TABLES = (
  Table(1, "Quality of the video", _VIDEO, published.TABLE_1),
  Table(2, "Quality by camera", _VIDEO, published.TABLE_2, "camera"),
  Table(3, "Alignment with the music", _MUSIC, published.TABLE_3),
  Table(4, "Alignment by genre", _MUSIC, published.TABLE_4, "genre"),
  Table(
    5,
    "Models trained on clips of different length",
    (*_MUSIC, "fvd"),
    published.TABLE_5,
    "trained_frames",
    _LENGTH,
  ),
  Table(
    6, "Embedding of music or of text", (*_MUSIC, "fvd"), published.TABLE_6, "embedding"
  ),
  Table(7, "Long videos", (*_MUSIC, "fvd"), published.TABLE_7, "num_frames", _LENGTH),
)


def read_results(paths: Sequence[str]) -> list[tuple[str, Result]]:
  """(name, result) of each file; a folder means its result.json.

  Raises:
    ProtocolError: a file that is no result.
  """
  results = []
  for path in map(pathlib.Path, paths):
    path = path / "result.json" if path.is_dir() else path
    try:
      result = json.loads(path.read_text(encoding="utf-8"))
      result["protocol"], result["summary"]["all"], result["subject"]["label"]
    except (OSError, ValueError, KeyError, TypeError) as error:
      raise protocol.ProtocolError(f"{path} is no result ({error!r}).") from None
    results.append((str(path), result))
  return results


def make_rows(table: Table, results: Sequence[tuple[str, Result]]) -> list[list[str]]:
  """The table as text, its head first; the paper's rows, then ours with their nulls.

  Raises:
    ProtocolError: two results were measured differently.
  """
  for name, result in results[1:]:
    first_name, first = results[0]
    protocol.check_same(
      first["protocol"], result["protocol"], (first_name, name), table.may_differ
    )
  by = [table.by] if table.by else []
  head = ["source", "model", *by, "n"]
  head += [_TITLES[column] for column in table.columns]
  rows = [head]
  for key, figures in table.figures.items():
    cells = [_printed(figures[c]) if c in figures else "" for c in table.columns]
    rows.append(["paper", *key, "", *cells])
  real_done = set()
  for _, result in results:
    for value, summary in _parts(table, result):
      with_value = [value] if table.by else []
      label = result["subject"]["label"]
      n = str(max((summary[c]["n"] for c in table.columns if c in summary), default=0))
      ours = lambda pick, s=summary: [pick(c, s.get(c)) for c in table.columns]
      real = ours(lambda c, row, n=n: _real(c, row, n))
      if table.number in (3, 4) and value not in real_done and any(real):
        real_done.add(value)
        rows.append(["ours", "GT", *with_value, n, *real])
      value_of = lambda c, row, n=n: _value(c, row, n)
      rows.append(["ours", label, *with_value, n, *ours(value_of)])
      for null in ("frozen", "shuffled", "chance", "codec"):
        cells = ours(lambda c, row, null=null, n=n: _null(c, row, null, n))
        if any(cells):
          rows.append(["null", null, *with_value, n, *cells])
  return rows


def _printed(figure: float) -> str:
  """A figure with the digits it has in the paper: 0.040, 26.30, 25.031."""
  usual = f"{figure:.2f}" if figure >= 10 else f"{figure:.3f}"
  return usual if float(usual) == figure else str(figure)


def _parts(table: Table, result: Result):
  """(value of `by`, summary) of the parts of a result that are rows of the table."""
  if table.by in ("camera", "genre"):
    for group, summary in result["summary"].items():
      key, _, value = group.partition("=")
      if key == table.by and value in {k[1] for k in table.figures}:
        yield value, summary
    return
  known = {
    "": "",
    "embedding": result["subject"].get("embedding"),
    "trained_frames": result["subject"].get("trained_frames"),
    "num_frames": result["protocol"]["num_frames"],
  }[table.by]
  yield str(known if known is not None else "unknown"), result["summary"]["all"]


def _value(column: str, row: Mapping[str, Any] | None, n: str) -> str:
  if row is None:
    return "not computed"
  if column == "fvd":
    if row["value"] is None:
      return f"not computed ({row['reason']})"
    half = row["real_half"]
    beside = f" (real {half['mean']:.1f} at n {half['n']})" if half else ""
    own_n = f" (n {row['n']})" if str(row["n"]) != n else ""
    return f"{row['value']:.2f}{own_n}{beside}"
  if row["mean"] is None:
    return (
      "not computed (no weights)" if "no_weights" in row["reasons"] else "undefined"
    )
  return _with_error(row, n)


def _real(column: str, row: Mapping[str, Any] | None, n: str) -> str:
  real = row and row.get("real")
  return _with_error(real, n) if real and real["mean"] is not None else ""


def _null(column: str, row: Mapping[str, Any] | None, null: str, n: str) -> str:
  if row is None:
    return ""
  if column == "fvd":
    found = row["nulls"].get(null)
    return "" if found is None else f"{found:.2f}"
  found = row["nulls"].get(null)
  if found is None or found["mean"] is None or row["mean"] is None:
    return ""
  return _with_error(found, n)


def _with_error(row: Mapping[str, Any], n: str) -> str:
  """Mean and standard error; its own n, where that is not the row's."""
  digits = ".2f" if abs(row["mean"]) >= 10 else ".3f"
  error = row["sem_seq"]
  text = format(row["mean"], digits)
  text += f" +- {error:{digits}}" if error is not None else ""
  return text + (f" (n {row['n']})" if str(row["n"]) != n else "")


def as_markdown(table: Table, rows: Sequence[Sequence[str]]) -> str:
  """The table with its title; +- is the standard error over sequences."""
  head, *body = rows
  lines = [f"### Table {table.number}: {table.title}", ""]
  lines += [_line(head), _line(["---"] * len(head))]
  return "\n".join([*lines, *map(_line, body)]) + "\n"


def _line(cells: Sequence[str]) -> str:
  return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def write_tables(
  folder: pathlib.Path, results: Sequence[tuple[str, Result]]
) -> tuple[str, list[pathlib.Path]]:
  """Writes tables.md and tableN.csv; returns the markdown and the paths.

  A table whose results were measured differently is refused; the others are written,
  and the refusal stands in the text.
  """
  folder.mkdir(parents=True, exist_ok=True)
  texts, texts_of = [], {}
  refusals = 0
  for table in TABLES:
    try:
      rows = make_rows(table, results)
    except protocol.ProtocolError as error:
      refusals += 1
      texts.append(f"### Table {table.number}: {table.title}\n\nrefused: {error}\n")
      continue
    texts.append(as_markdown(table, rows))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    texts_of[f"table{table.number}.csv"] = text.getvalue()
  if refusals == len(TABLES):
    raise protocol.ProtocolError(texts[0].partition("refused: ")[2].strip())
  texts_of["tables.md"] = "\n".join([_CAUTION, *texts])
  for name, text in texts_of.items():
    files.write_text(folder / name, text)
  return texts_of["tables.md"], [folder / name for name in texts_of]
