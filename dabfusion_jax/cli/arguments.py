"""What command lines have in common: numbers that must make sense."""

import argparse
import math


class UsageError(ValueError):
  """Arguments that are wrong or do not go together; one line says which."""


def check_positive(args: argparse.Namespace, *names: str) -> None:
  """Refuses numbers at or below zero, and nan; None is no number and passes.

  Raises:
    UsageError: names the argument and its value.
  """
  for name in names:
    value = getattr(args, name)
    if value is not None and not (value > 0 and math.isfinite(value)):
      raise UsageError(f"--{name}={value} must be above 0.")
