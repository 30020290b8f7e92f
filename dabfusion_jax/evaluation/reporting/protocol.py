"""How a result was measured, and whether two results were measured alike."""

import hashlib
import importlib.metadata
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from data_pipeline.errors import UserError

PACKAGES = ("jax", "numpy", "scipy", "librosa", "opencv-python-headless", "av")
PACKAGES += ("ai-edge-litert", "dabfusion_jax")
DEFINITIONS = 2  # raise when a score of the same features is computed in another way


class ProtocolError(UserError):
  """Results that must not be compared; the first difference is named."""


def list_hash(names: Iterable[str]) -> str:
  """Of a list of clips, whatever its order."""
  return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()


def versions() -> dict[str, str | None]:
  """Of the packages that numbers depend on; None where not installed."""
  found = {}
  for package in PACKAGES:
    try:
      found[package] = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
      found[package] = None
  return found


def first_difference(
  a: Mapping[str, Any], b: Mapping[str, Any], except_for: Collection[str] = ()
) -> tuple[str, Any, Any] | None:
  """(dotted name, value of a, value of b) of the first setting that differs."""
  flat_a, flat_b = _flatten(a), _flatten(b)
  for key in sorted(flat_a.keys() | flat_b.keys()):
    if key in except_for or key.split(".")[0] in except_for:
      continue
    pair = flat_a.get(key, "absent"), flat_b.get(key, "absent")
    if pair[0] != pair[1]:
      return key, *pair
  return None


def check_same(
  a: Mapping[str, Any],
  b: Mapping[str, Any],
  names: tuple[str, str],
  except_for: Collection[str] = (),
) -> None:
  """Refuses to compare results of different protocols.

  Raises:
    ProtocolError: names the files, the setting and both values.
  """
  found = first_difference(a, b, except_for)
  if found:
    raise ProtocolError(
      f"{names[0]} and {names[1]} were measured differently: {found[0]} is"
      f" {found[1]!r} in the first and {found[2]!r} in the second; evaluate both alike."
    )


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
  flat = {}
  for key, value in tree.items():
    if isinstance(value, Mapping) and value:
      flat |= _flatten(value, f"{prefix}{key}.")
    else:
      flat[prefix + key] = value
  return flat
