"""Records how a result was measured, and refuses to compare results that differ."""

import hashlib
import importlib.metadata
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from dabfusion_jax.settings.mapping import flatten
from data_pipeline.errors import UserError

PACKAGES = ("dabfusion_jax", "jax", "numpy", "scipy", "librosa", "av")
PACKAGES += ("opencv-python-headless",)
# Raise when a score of the same features is computed or named in another way.
DEFINITIONS = 6


class ProtocolError(UserError):
  """Results that must not be compared or read; names the reason."""


def list_hash(names: Iterable[str]) -> str:
  """Returns a hash of a list of clips, in any order."""
  return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()


def versions() -> dict[str, str | None]:
  """Returns the versions of packages that numbers depend on; None if not installed."""
  versions = {}
  for package in PACKAGES:
    try:
      versions[package] = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
      versions[package] = None
  return versions


def check_definitions(protocol: Mapping[str, Any], name: str) -> None:
  """Checks that a result was measured by the definitions of this version.

  Raises:
    ProtocolError: it was measured by others; `name` is that of the result.
  """
  definitions = protocol.get("definitions")
  if definitions != DEFINITIONS:
    raise ProtocolError(
      f"{name} was measured by version {definitions} of the metrics, this program uses"
      f" version {DEFINITIONS}; evaluate the clips again."
    )


def check_same(
  a: Mapping[str, Any],
  b: Mapping[str, Any],
  names: tuple[str, str],
  except_for: Collection[str] = (),
) -> None:
  """Checks that two results were measured by the same protocol.

  Args:
    a: protocol of the first.
    b: protocol of the second.
    names: of both, for the message.
    except_for: settings, or groups of settings, that may differ.

  Raises:
    ProtocolError: names the groups of metrics that only one has, or the first setting
      that differs, and both values.
  """
  groups = [set(protocol.get("groups", ())) for protocol in (a, b)]
  if groups[0] != groups[1]:
    only = [
      f"only {name} has {', '.join(sorted(own - other))}"
      for name, own, other in zip(names, groups, groups[::-1], strict=True)
      if own - other
    ]
    raise ProtocolError(
      f"{' and '.join(only)}; evaluate both with"
      f" --metrics={','.join(sorted(groups[0] | groups[1]))}."
    )
  flat_a, flat_b = flatten(a), flatten(b)
  for key in sorted(flat_a.keys() | flat_b.keys()):
    if key in except_for or key.split(".")[0] in except_for:
      continue
    pair = flat_a.get(key, "absent"), flat_b.get(key, "absent")
    if pair[0] != pair[1]:
      raise ProtocolError(
        f"{names[0]} and {names[1]} were measured differently: {key} is {pair[0]!r} in"
        f" the first and {pair[1]!r} in the second; evaluate both alike."
      )
