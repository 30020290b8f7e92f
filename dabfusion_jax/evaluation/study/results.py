"""What a part of the claims found, as JSON, and all of it as a markdown table."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from dabfusion_jax.evaluation.study.estimates import Estimate, Row
from data_pipeline import files

_HEAD = ("what", "found", "n", "true clips", "null", "asked", "met")


@dataclasses.dataclass(frozen=True)
class Part:
  """The rows of one claim, and what else is worth keeping (plain values)."""

  rows: Sequence[Row]
  extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def read_part(path: pathlib.Path, identity: Mapping[str, Any]) -> Part | None:
  """The part in a file; None if there is none or it is of another identity."""
  if not path.is_file():
    return None
  found = json.loads(path.read_text(encoding="utf-8"))
  if found["identity"] != json.loads(json.dumps(identity)):
    return None
  return Part([_row(row) for row in found["rows"]], found["extra"])


def write_part(path: pathlib.Path, identity: Mapping[str, Any], part: Part) -> None:
  """A part and what it depends on, in one move."""
  rows = [dataclasses.asdict(row) for row in part.rows]
  content = {"identity": identity, "rows": rows, "extra": part.extra}
  files.write_json(path, content)


def markdown(title: str, note: str | None, rows: Sequence[Row]) -> str:
  """A table under its title and what there is to say about it."""
  lines = [f"### {title}", "", *([note, ""] if note else [])]
  lines += [_line(_HEAD), _line(["---"] * len(_HEAD))]
  return "\n".join([*lines, *(_line(_cells(row)) for row in rows)]) + "\n"


def _cells(row: Row) -> list[str]:
  count = f"{row.found.n}"
  if row.found.n_sequences != row.found.n:
    count += f" ({row.found.n_sequences} sequences)"
  null = f"{row.null} ({row.null_is})" if row.null else ""
  met = {True: "yes", False: "no", None: ""}[row.met]
  return [
    row.what, str(row.found), count, str(row.true or ""), null, row.asked, met,
  ]  # fmt: skip


def _line(cells: Sequence[str]) -> str:
  return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _row(content: Mapping[str, Any]) -> Row:
  estimates = {
    key: Estimate(**content[key]) if content[key] else None
    for key in ("found", "true", "null")
  }
  return Row(**content | estimates)
