"""Collects what a user should know of a file that was read all the same.

A reader that passes over a damaged piece, or takes another track, says so by
`add_note`. Whoever reads a file for a report collects the notes; otherwise they are
logged as warnings.
"""

import contextlib
import contextvars
import dataclasses
import logging
from collections.abc import Iterator

from etils.epath import PathLike

NOTED, SILENT = "noted", "silent"


@dataclasses.dataclass(frozen=True)
class Note:
  """What is odd about a file.

  Attributes:
    kind: `silent` if nothing can be heard in it, else `noted`.
    text: one line that begins with the name of the file.
  """

  kind: str
  text: str


_collected: contextvars.ContextVar[dict[Note, None] | None] = contextvars.ContextVar(
  "notes", default=None
)


def add_note(path: PathLike, text: str, kind: str = NOTED) -> None:
  """Adds a note to those being collected, once; logs it if nobody collects."""
  note = Note(kind, f"{path}: {text}")
  notes = _collected.get()
  if notes is None:
    logging.getLogger(__name__).warning("%s", note.text)
  else:
    notes[note] = None


@contextlib.contextmanager
def collect_notes() -> Iterator[dict[Note, None]]:
  """Collects the notes made inside the block, in this thread, as keys in order."""
  notes: dict[Note, None] = {}
  token = _collected.set(notes)
  try:
    yield notes
  finally:
    _collected.reset(token)
