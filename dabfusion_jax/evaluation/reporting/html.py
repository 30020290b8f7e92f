"""Writes the pieces of the report's HTML: the page, tables, charts and videos."""

import base64
from collections.abc import Mapping, Sequence
from html import escape

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 0 auto; padding: 0 12px 40px;
  max-width: 1200px; }
h1 { font-size: 1.5em; } h2 { font-size: 1.2em; margin-top: 2em; }
.wide { overflow-x: auto; }
.charts { display: grid; gap: 12px;
  grid-template-columns: repeat(auto-fit, minmax(min(340px, 100%), 1fr)); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 3px 9px; border-bottom: 1px solid #8884; text-align: left;
  vertical-align: top; }
th { cursor: pointer; white-space: nowrap; user-select: none; }
th[data-order="1"]::after { content: " \\25B2"; }
th[data-order="-1"]::after { content: " \\25BC"; }
th:first-child, td:first-child { position: sticky; left: 0; background: Canvas; }
td:first-child { min-width: 8em; max-width: 40vw; overflow-wrap: anywhere; }
td.number { white-space: nowrap; } td.text { min-width: 16em; }
.clip { border-top: 1px solid #8884; padding: 8px 0; }
.row { display: grid; gap: 8px;
  grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); }
figure { margin: 0; } figcaption { font-size: 0.85em; }
video { width: 100%; max-width: 300px; background: #000; }
svg { max-width: 100%; height: auto; }
svg text { fill: currentColor; font-size: 11px; stroke: Canvas; stroke-width: 4px;
  paint-order: stroke; }
pre { overflow-x: auto; font-size: 12px; }
button { font: inherit; padding: 4px 10px; }
p, li, h3, figcaption { overflow-wrap: anywhere; }
"""
_SCRIPT = """
document.querySelectorAll("th").forEach(head => head.addEventListener("click", () => {
  const table = head.closest("table"), body = table.tBodies[0];
  const column = [...head.parentNode.children].indexOf(head);
  const order = head.dataset.order === "1" ? -1 : 1;
  table.querySelectorAll("th").forEach(other => delete other.dataset.order);
  head.dataset.order = order;
  const value = row => {
    const cell = row.children[column];
    return cell.dataset.value === undefined ? cell.textContent : +cell.dataset.value;
  };
  const rows = [...body.rows].sort((a, b) => {
    const x = value(a), y = value(b);
    if (typeof x !== typeof y) return typeof x === "number" ? -1 : 1;
    if (typeof x === "number") return order * (x - y);
    return order * x.localeCompare(y);
  });
  body.append(...rows);
}));
document.querySelectorAll("button.play").forEach(button =>
  button.addEventListener("click", () => {
    const videos = [...button.closest(".clip").querySelectorAll("video")];
    const stop = videos.some(video => !video.paused);
    videos.forEach((video, i) => {
      video.muted = i > 0;
      if (stop) { video.pause(); } else { video.currentTime = 0; video.play(); }
    });
  }));
"""


def page(title: str, parts: Sequence[str]) -> str:
  """Returns a self-contained page, which loads nothing from anywhere."""
  return (
    '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    f'<link rel="icon" href="data:,"><title>{escape(title)}</title>'
    f"<style>{_STYLE}</style></head><body>\n"
    + "\n".join([f"<h1>{escape(title)}</h1>", *parts])
    + f"\n<script>{_SCRIPT}</script></body></html>\n"
  )


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
  """Returns a table, sorted by a click on its head.

  Args:
    head: titles of the columns.
    rows: cells are text, a number, None, or (text, number to sort by).
  """
  heads = "".join(f"<th>{escape(cell)}</th>" for cell in head)
  body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)
  return (
    f'<div class="wide"><table><thead><tr>{heads}</tr></thead>'
    f"<tbody>{body}</tbody></table></div>"
  )


def _cell(content: object) -> str:
  if content is None:
    return "<td>-</td>"
  if isinstance(content, tuple):
    text, value = content
    if value is None:
      return f"<td>{_text(text)}</td>"
    return f'<td class="number" data-value="{value!r}">{_text(text)}</td>'
  if isinstance(content, int | float):
    return f'<td class="number" data-value="{content!r}">{content:.4g}</td>'
  kind = ' class="text"' if len(str(content)) > 40 else ""
  return f"<td{kind}>{_text(str(content))}</td>"


def _text(text: str) -> str:
  return escape(text.replace("+-", "\u00b1"))


def bullets(lines: Sequence[str]) -> str:
  """Returns a list of sentences, or "None." if there are none."""
  if not lines:
    return "<p>None.</p>"
  return "<ul>" + "".join(f"<li>{_text(line)}</li>" for line in lines) + "</ul>"


def figure(title: str, svg: str) -> str:
  """Returns a chart under its title."""
  return f"<figure><figcaption>{escape(title)}</figcaption>{svg}</figure>"


def clip(name: str, text: str, videos: Mapping[str, bytes]) -> str:
  """Returns videos side by side under one button; only the first plays sound.

  Args:
    name: of the clip.
    text: below it.
    videos: mp4 files by caption.
  """
  figures = "".join(
    f'<figure><video controls playsinline loop preload="metadata"'
    f' src="data:video/mp4;base64,{base64.b64encode(content).decode()}"></video>'
    f"<figcaption>{escape(caption)}</figcaption></figure>"
    for caption, content in videos.items()
  )
  return (
    f'<div class="clip"><h3>{escape(name)}</h3><p>{escape(text)}</p>'
    '<p><button class="play">play all</button></p>'
    f'<div class="row">{figures}</div></div>'
  )


def details(title: str, text: str) -> str:
  """Returns a long text, folded away under its title."""
  return (
    f"<details><summary>{escape(title)}</summary><pre>{escape(text)}</pre></details>"
  )
