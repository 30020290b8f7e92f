"""Checks that settings share."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from data_pipeline.errors import UserError

Range = tuple[int | float, int | float]  # the least and the largest value


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
  """Raises `UserError` unless `value` is one of `choices`."""
  if value not in choices:
    raise UserError(f"Unknown {name} {value!r:.60}; known: {', '.join(choices)}.")


def check_numbers(
  name: str, values: Sequence[int | float], known: Sequence[float]
) -> None:
  """Raises `UserError` unless all `values` are among the `known` ones."""
  for value in values:
    if value not in known:
      numbers = ", ".join(map(str, known))
      raise UserError(f"{name} must be one of {numbers}, not {str(value)[:40]}.")


def check_ranges(settings: Any, group: str, ranges: Mapping[str, Range]) -> None:
  """Raises `UserError` unless all numbers are in their ranges.

  Args:
    settings: a dataclass; a tuple of numbers is checked number by number.
    group: its name, for messages; "" for settings of no group.
    ranges: what is allowed, by field.
  """
  for key, (least, most) in ranges.items():
    value = getattr(settings, key)
    for number in value if isinstance(value, tuple) else (value,):
      if not least <= number <= most:
        bounds = f"at least {least:g}"
        if most < math.inf:
          bounds = f"from {least:g} to {most:.10g}"
        name = f"{group}.{key}" if group else key
        raise UserError(f"{name} must be {bounds}, not {str(number)[:40]}.")


def check_above_zero(settings: Any, group: str, keys: Sequence[str]) -> None:
  """Raises `UserError` unless the numbers of these fields are above 0."""
  for key in keys:
    if not getattr(settings, key) > 0:
      raise UserError(f"{group}.{key} must be above 0, not {getattr(settings, key)}.")


def check_filled(settings: Any, group: str, keys: Sequence[str]) -> None:
  """Raises `UserError` if a text or a tuple is empty."""
  for key in keys:
    if not getattr(settings, key):
      raise UserError(f"{group}.{key} is empty; give it a value.")
