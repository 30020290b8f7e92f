"""Writes tables as markdown."""

from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  """Returns a table; ends with a newline."""
  lines = [head, ["---"] * len(head), *rows]
  return "".join(_line(cells) for cells in lines)


def _line(cells: Sequence[str]) -> str:
  return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"
