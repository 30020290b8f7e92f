"""The page speaks of its own controls, and never of options of a command line."""

import ast
import pathlib

import pytest

from dabfusion_jax.web.wording import CONTROLS, for_page

_ROOT = pathlib.Path(__file__).parent.parent.parent
# Files whose messages the page shows.
_SHOWN = (
  "beat_notes",
  "draft",
  "inputs",
  "layers",
  "length",
  "painter",
  "picture",
  "song",
)


def _messages():
  """Returns all texts with an option in them, as they would be shown."""
  found = []
  for name in _SHOWN:
    path = _ROOT / "dabfusion_jax" / "inference" / f"{name}.py"
    for node in ast.walk(ast.parse(path.read_text())):
      parts = node.values if isinstance(node, ast.JoinedStr) else [node]
      text = "".join(
        part.value if isinstance(part, ast.Constant) else "7"
        for part in parts
        if isinstance(getattr(part, "value", None), str) or len(parts) > 1
      )
      if "--" in text and not isinstance(node, ast.Expr):
        found.append(text)
  return found


def test_no_message_of_a_dance_names_an_option_on_the_page():
  messages = _messages()
  assert len(messages) >= 6
  for message in messages:
    assert "--" not in for_page(message), message


@pytest.mark.parametrize(
  ("text", "shown"),
  [
    (
      "The largest of 3 people dances; --pick=2 is the next, --pick=all takes all.",
      "The largest of 3 people dances; “Which person” 2 is the next,"
      " “Everybody dances” takes all.",
    ),
    (
      "There is nobody here; give another picture, or take it: --drawing=decoder.",
      "There is nobody here; give another picture.",
    ),
    (
      "In this picture it is dark (or take it as it is: --drawing=decoder).",
      "In this picture it is dark.",
    ),
    (
      "It may be wrong. If it is known, --bpm=N helps; --beats=FILE can give it.",
      "It may be wrong. If it is known, “Beats per minute” helps.",
    ),
    (
      "If it feels like 124, dance to it with --bpm=124.",
      "If it feels like 124, dance to it with “Beats per minute” 124.",
    ),
    ("pick must be at least 1, not 0.", "Which person must be at least 1, not 0."),
    ("a.png: not a picture.", "a.png: not a picture."),
    ("Its tempo changes.", "Its tempo changes."),
  ],
)
def test_options_become_controls_and_foreign_advice_is_left_out(text, shown):
  assert for_page(text) == shown


def test_every_control_stands_on_the_page():
  page = (_ROOT / "dabfusion_jax" / "web" / "page.py").read_text()
  labels = {CONTROLS[name] for name in CONTROLS if f'CONTROLS["{name}"]' in page}
  assert labels == set(CONTROLS.values())


def test_a_file_may_be_called_anything():
  text = "my--remix.wav lasts 1.00 s; give more, or --short_music=loop."
  assert for_page(text) == "my--remix.wav lasts 1.00 s; give more."
