"""Checks that settings share."""

from collections.abc import Sequence

from data_pipeline.errors import UserError


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
  """Raises `UserError` unless `value` is one of `choices`."""
  if value not in choices:
    raise UserError(f"Unknown {name} {value!r}; known: {', '.join(choices)}.")
